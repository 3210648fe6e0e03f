"""Training codes as others write them, from `gpu-profile init` to the values that they read."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from foreign_codes import (
    CODES,
    add_wiring,
    copy_code,
    locked,
    script_of,
    wiring,
    wiring_lines,
    with_this_python,
)
from projects import TESTS
from simulated_runs import train_outcomes

from harness.cli.command_line import main

if TYPE_CHECKING:
    from pathlib import Path

_READ = re.compile(r"^batch size (\S+), learning rate (\S+)$", re.MULTILINE)
_PROPOSED = {
    "dict_segmentation": "class_path: segment.Segmenter",
    "gan_by_hand": 'command: "python dcgan.py --batch-size ${batch_size} --max-steps 4"',
    "get_batch_loop": 'command: "python train.py --batch-size ${batch_size} --max-steps 4"',
    "lstm_time_major": 'command: "python main.py --batch-size ${batch_size} --max-steps 4"',
    "transformers_trainer": "class_path: finetune.make_trainer",
}
_ARGUMENTS = {
    "lightning_cli": ("fit", "--config=configs/train.yaml", "--trainer.max_steps=2"),
    "hydra_style": ("trainer.max_epochs=1", "+trainer.limit_train_batches=2"),
}
"""Those of a short training, where the script has no option --max-steps."""
# Tests of whole runs have other codes of their kinds.
_SLOW = {
    "dict_segmentation",
    "gan_by_hand",
    "get_batch_loop",
    "hydra_style",
    "transformers_trainer",
}
_PAGES = "".join(page.read_text(encoding="utf-8") for page in (TESTS.parent / "docs").glob("*.md"))


@pytest.mark.parametrize("name", CODES)
def test_wiring_is_short(name: str) -> None:
    """At most 10 lines of Python and 15 of YAML make a code's values tested ones."""
    python, yaml = wiring_lines(name)
    assert (True, True) == (python <= 10, yaml <= 15), (python, yaml)


@pytest.mark.parametrize("name", CODES)
def test_wiring_is_shown_in_full(name: str) -> None:
    """A page of the documentation shows each file of it, as it is."""
    missing = [path.name for path in wiring(name) if path.read_text(encoding="utf-8") not in _PAGES]
    assert [] == missing


@pytest.mark.parametrize(("name", "proposed"), _PROPOSED.items())
def test_init_proposes_what_trains(
    name: str, proposed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The matrix that `gpu-profile init` writes names what the wiring names, too."""
    copy_code(name, tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert 0 == main(["init"])
    assert proposed in (tmp_path / "profiles" / "matrix.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in _SLOW else ()) for name in CODES],
)
def test_code_is_locked_and_reads_its_values(
    name: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B fits and B + 1 does not, the lock holds B, and the script trains with what it reads there.

    What `gpu-profile init` writes gives way to the wiring, apart from the test module.
    """
    folder = pytester.path
    monkeypatch.chdir(folder)
    monkeypatch.delenv("GPU_PROFILE_LOCK", raising=False)
    monkeypatch.setenv("PATH", with_this_python())
    copy_code(name, folder)
    assert 0 == main(["init"])
    add_wiring(name, folder)

    run = pytester.runpytest_inprocess(
        "-p", "no:cacheprovider", "--gpu-profile", "--gpu-profile-update", "-v"
    )
    assert pytest.ExitCode.OK == run.ret
    report = json.loads((folder / ".gpu-profile" / "report.json").read_text(encoding="utf-8"))
    (case,) = (one for one in report["cases"] if "-cpu-" in one["id"])
    largest, outcomes = case["max_batch_size"], train_outcomes(case)
    assert ("memory", "fits", "oom") == (
        case["bounded_by"], outcomes[largest], outcomes[largest + 1],
    )  # fmt: skip
    profile = locked(folder, "cpu")
    assert largest == profile.max_batch_size
    if case["learning_rate"] is not None:  # a command has none, and the lock has four digits
        assert pytest.approx(case["learning_rate"], rel=1e-3) == profile.learning_rate

    done = subprocess.run(
        [sys.executable, script_of(folder), *_ARGUMENTS.get(name, ("--max-steps", "2"))],
        cwd=folder, check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    read = _READ.search(done.stdout)
    assert (0, True) == (done.returncode, read is not None), done.stdout + done.stderr
    assert read is not None
    # The script of a command keeps a rate of its own.
    rate = profile.learning_rate or float(read[2])
    assert (profile.batch_size, rate) == (int(read[1]), float(read[2]))
