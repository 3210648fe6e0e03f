"""Training codes as others write them, on a simulated GPU: measured there, and predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from foreign_codes import CODES, add_wiring, copy_code, wiring, with_this_python
from simulated_runs import report_of, start, train_outcomes
from simulated_worlds import h100, inside

if TYPE_CHECKING:
    from pathlib import Path

    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

# TrainingArguments start CUDA, so that each probe of a transformers.Trainer begins with a new
# Python, which imports transformers anew.
_SLOW = {"transformers_trainer"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in _SLOW else []) for name in CODES],
)
def test_code_is_predicted_as_it_is_measured(name: str, tmp_path: Path, worlds: Worlds) -> None:
    """B fits and B + 1 does not, and a prediction finds the same B, with the wiring as it is.

    A command is only predicted: each of its probes takes seconds, and `test_commands_on_gpu.py` has
    both.
    """
    environment = inside(worlds.make(h100(workspace_bytes=None))) | {"PATH": with_this_python()}
    folder = tmp_path / "project"
    copy_code(name, folder)
    add_wiring(name, folder)
    is_command = any("command:" in path.read_text(encoding="utf-8") for path in wiring(name))
    found = set()
    for flags in [("--gpu-profile-predict",)] if is_command else [(), ("--gpu-profile-predict",)]:
        seconds = 1500 if name in _SLOW else 280
        _, output = start(folder, environment, "-k", "h100", *flags, seconds=seconds)
        (case,) = report_of(folder)
        largest, outcomes = case["max_batch_size"], train_outcomes(case)
        assert ("memory", "fits", "oom") == (
            case["bounded_by"], outcomes[largest], outcomes[largest + 1],
        ), output  # fmt: skip
        found.add(largest)
    assert 1 == len(found)
