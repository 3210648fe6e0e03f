"""`gpu-profile show CASE --memory`: where the memory goes, as the lock holds it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from command_line import CASE, Output, of_case

from harness.cli.command_line import main
from harness.lockfile.write import update_lock, write_candidate

if TYPE_CHECKING:
    from pathlib import Path

    from harness.lockfile.profiles import LockedProfile

KIB = 1024


def stored(**changes: Any) -> LockedProfile:
    """Make the case's profile, with a table of 10 samples."""
    values: dict[str, Any] = {
        "batch_size": 10,
        "max_batch_size": 10,
        "peak_memory_bytes": 100 * KIB,
        "memory_limit_bytes": 200 * KIB,
        "memory": {"parameter": 10 * KIB, "optimizer": 20 * KIB},
        "memory_per_sample": {"activation of head": 4 * KIB, "activation of neck": KIB},
    }
    return of_case(**values | changes)


def test_parts_are_shown_with_their_shares(lock: Path, capsys: Output) -> None:
    """Kinds with their modules, the largest first, and what is unexplained, make the peak."""
    update_lock(lock, [stored()])
    assert 0 == main(["show", CASE, "--memory"])
    shown = capsys.readouterr()
    title, _, *table, _, note = shown.out.splitlines()
    assert title.startswith(f"{CASE}: 100.0 KiB of 200.0 KiB at the peak of batch 10, measured on")
    assert [
        ["memory", "share", "per", "sample"],
        ["activations", "50.0", "KiB", "50.0%", "5.0", "KiB", 12 * "#"],
        ["head", "40.0", "KiB", "40.0%", "4.0", "KiB", 10 * "#"],
        ["neck", "10.0", "KiB", "10.0%", "1.0", "KiB", 2 * "#"],
        ["optimizer", "state", "20.0", "KiB", "20.0%", 5 * "#"],
        ["parameters", "10.0", "KiB", "10.0%", 2 * "#"],
        ["unexplained", "20.0", "KiB", "20.0%", 5 * "#"],
        ["total", "100.0", "KiB", "100.0%"],
    ] == [line.split() for line in table]
    assert note.startswith("unexplained is what torch did not allocate")
    assert "" == shown.err


def test_document_has_the_same_parts(lock: Path, capsys: Output) -> None:
    """The parts under `--json` add up to the peak."""
    update_lock(lock, [stored()])
    assert 0 == main(["show", CASE, "--memory", "--json"])
    (parts,) = json.loads(capsys.readouterr().out)["memory"]
    assert 100 * KIB == parts["peak_bytes"] == sum(row["bytes"] for row in parts["rows"])
    assert {
        "kind": "activation",
        "module": "head",
        "bytes": 40 * KIB,
        "bytes_per_sample": 4 * KIB,
    } == parts["rows"][0]


def test_case_without_a_table_says_how_to_get_one(lock: Path, capsys: Output) -> None:
    """The message names the command."""
    update_lock(lock, [stored(memory={}, memory_per_sample={})])
    assert 2 == main(["show", CASE, "--memory"])
    shown = capsys.readouterr()
    assert f"pytest --gpu-profile --gpu-profile-update -k {CASE}" in shown.err
    assert "" == shown.out


def test_command_that_trains_has_none(lock: Path, capsys: Output) -> None:
    """A command is in a process of its own, and no run would change that."""
    workload = {"command": "python train.py"}
    update_lock(lock, [stored(memory={}, memory_per_sample={}, workload=workload)])
    assert 2 == main(["show", CASE, "--memory"])
    assert "the modules of its process are its own" in capsys.readouterr().err


def test_last_run_stands_in_for_the_lock(lock: Path, capsys: Output) -> None:
    """What a run has found is shown before it is locked, and said to be so."""
    old = stored(memory={}, memory_per_sample={})
    update_lock(lock, [old])
    results = lock.parents[1] / ".gpu-profile"
    results.mkdir(exist_ok=True)
    write_candidate(results / "candidate.lock", lock, [stored()])
    assert 0 == main(["show", CASE, "--memory"])
    shown = capsys.readouterr()
    assert "head" in shown.out
    assert "this is of .gpu-profile/candidate.lock" in shown.err


def test_table_and_field_are_two_questions(lock: Path, capsys: Output) -> None:
    """Both flags together are refused."""
    assert 2 == main(["show", CASE, "--memory", "--field", "batch_size"])
    assert "not allowed with argument" in capsys.readouterr().err
    assert lock.exists()
