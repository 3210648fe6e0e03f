"""Runs that are interrupted and go on: the same values, and no probe that has ended runs again.

The probe of the table of where the memory goes is no answer that is kept: each run makes it anew.
"""

from __future__ import annotations

from signal import SIGINT, SIGKILL
from typing import TYPE_CHECKING, Any

from interrupted_runs import HaltingRun, make_halting
from projects import copy_into

if TYPE_CHECKING:
    from projects import Project
    from warm_zygotes import WarmZygotes

CASE, BEFORE = "net-cpu-48MiB-1", "before-cpu-48MiB-1"
MATRIX = """\
version: 1
matrix: {model: [before, net], gpu: [cpu-48MiB], resolution: [1]}
models:
  before:
    module: {class_path: counted_zoo.Net}
    data: {class_path: zoo.Numbers}
    search: {max_batch_size: 4, validation: false}
    lr_range: {when: never}
  net:
    module: {class_path: counted_zoo.Net}
    data: {class_path: zoo.Numbers}
gpus:
  cpu-48MiB: {accelerator: cpu, budget: 48MiB}
# The cap is the largest batch: what the memory allows may differ by a sample from run to run.
search: {max_batch_size: 64, steps_per_trial: 3, validation: search}
lr_range: {num_training: 70, seeds: [0]}
"""
FOUND = (
    "max_batch_size",
    "batch_size",
    "validation_batch_size",
    "learning_rate",
    "learning_rates",
    "learning_rate_range",
    "lr_steps",
)
STARTED = "started.txt"
TABLE = 2
"""Trainings of a table of where the memory goes."""


def make_counted(project: Project) -> None:
    """Make a project whose case counts its trainings."""
    make_halting(project)
    copy_into(project.path, "zoo.py", "counted_zoo.py")
    (project.path / "profiles" / "matrix.yaml").write_text(MATRIX, encoding="utf-8")


def found(project: Project, name: str = CASE) -> dict[str, Any]:
    """Return what the last run has found for a case."""
    case = project.report()[name]
    tried = [(one["kind"], one["batch_size"], one["outcome"]) for one in case["probes"]]
    return {value: case[value] for value in FOUND} | {"status": case["status"], "tried": tried}


def resumed(project: Project, name: str = CASE) -> str:
    """Return what the last report says of the runs before it."""
    (note,) = (one for one in project.report()[name]["warnings"] if one.startswith("resumed: "))
    return str(note)


def number_started(project: Project) -> int:
    """Return the number of trainings that have started."""
    return len((project.path / STARTED).read_text(encoding="ascii").splitlines())


def test_interrupted_run_goes_on_and_finds_the_same(
    project: Project, warm_zygotes: WarmZygotes
) -> None:
    """Killed in the search and in a trial, interrupted in validation: only these three run again.

    The values are those of a run that was not interrupted, also of a case that was measured before.
    """
    make_counted(project)
    with HaltingRun(project, "never", zygotes=warm_zygotes) as run:
        assert 0 == run.wait(), run.output
    expected, trainings = found(project), number_started(project)
    before = found(project, BEFORE)
    assert "passed" == expected["status"]
    earlier = len(before["tried"])
    in_search = sum(kind == "train" for kind, *_ in expected["tried"])
    in_validation = len(expected["tried"]) - in_search
    assert 2 <= in_search
    assert 2 <= in_validation
    assert 4 <= trainings - earlier - in_search - in_validation - 2 * TABLE, "sweep and trials"
    project.lock.unlink()
    (project.path / STARTED).unlink()

    # Each interrupted training is counted, and so is the one that runs in its place. Each run makes
    # the table of the case before anew.
    in_each = (
        TABLE + in_search,
        2 * TABLE + in_search + 1 + 2,
        3 * TABLE + in_search + in_validation + 2 + 3,
    )
    for place, number in zip(in_each, (SIGKILL, SIGINT, SIGKILL), strict=True):
        phase = f"training {earlier + place}"
        with HaltingRun(project, phase, zygotes=warm_zygotes) as run:
            run.wait_until_halted()
            run.end(number, group=True)
            assert [] == run.survivors()
        assert earlier + place == number_started(project)
    with HaltingRun(project, "never", "-v", zygotes=warm_zygotes) as run:
        assert 0 == run.wait(), run.output
    assert (expected, before) == (found(project), found(project, BEFORE))
    assert trainings + len(in_each) * (1 + TABLE) == number_started(project)
    note = resumed(project)
    assert note.startswith(f"resumed: {in_search + in_validation} probes and ")
    assert f"{CASE}: {note[:30]}" in run.output
    # A case that was measured before the interruption is part of what has ended.
    assert resumed(project, BEFORE).startswith(f"resumed: {earlier} probes and 0 LR steps ")
    assert [] == list(project.results.glob("*/answers.jsonl"))
