"""The page for a session on a GPU, against the tests of the simulated one."""

from __future__ import annotations

import re
from pathlib import Path

import cuda_session

BENCHMARKS = Path(cuda_session.__file__).parent


def test_statements_keep_their_numbers_and_tests() -> None:
    """The page for the GPU has each of its 50 statements, and the tests that it names exist."""
    text = (BENCHMARKS / "CUDA.md").read_text(encoding="utf-8")
    statements = text.partition("## What only a GPU can prove")[2]
    numbers = {int(number) for number in re.findall(r"^\| (\d+) \|", statements, re.MULTILINE)}
    assert {*range(1, 51)} == numbers
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", text)
    simulated = BENCHMARKS.parent / "tests" / "simulated"
    missing = [
        (file, test)
        for file, test in named
        if f"def {test}(" not in (simulated / file).read_text(encoding="utf-8")
    ]
    assert (True, []) == (len(named) > 30, missing)
