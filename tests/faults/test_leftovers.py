"""Workloads that leave processes, threads and files behind, or print too much."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from faulty_runs import GPU, FaultyRun, of, run_once

KIB = 1 << 10


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> FaultyRun:
    """Run a case that leaves all of these behind, and one that prints and raises megabytes."""
    models = {
        "leaves": of("bad_zoo.LeavesEverything", "bad_zoo.PersistentWorkers"),
        "talks": of("bad_zoo.Talks"),
    }
    return run_once(tmp_path_factory, "leftovers", models)


def test_processes_threads_and_files_go_with_their_probe(ran: FaultyRun) -> None:
    """Child, daemon of a double fork, thread, workers and temporary file end with their probe."""
    assert ("passed", 4) == (ran.verdict("leaves"), ran.case("leaves")["max_batch_size"])
    told = ran.log("leaves", "003-train-b4.log").read_text(encoding="utf-8")
    left = re.search(r"left child (\d+), daemon (\d+), file (.*)", told)
    assert left is not None
    assert [False] * 3 == [
        Path(path).exists() for path in (f"/proc/{left[1]}", f"/proc/{left[2]}", left[3])
    ]
    assert () == ran.leftovers


def test_megabytes_are_kept_in_the_log_alone(ran: FaultyRun) -> None:
    """Terminal, reports and JUnit stay short, and name the log with the whole output."""
    assert ran.log("talks", "003-train-b1.log").stat().st_size > 2_000_000
    results = ran.path / ".gpu-profile"
    assert ran.log("talks", "003-train-b1.log").name in ran.shown("talks")
    sizes = {
        "terminal": len(ran.output),
        **{
            file.name: file.stat().st_size
            for file in (results / "report.json", results / "report.md")
        },
        "junit.xml": (ran.path / "junit.xml").stat().st_size,
    }
    assert {} == {name: size for name, size in sizes.items() if size > 24 * KIB}


def test_message_that_is_no_unicode_is_shown(ran: FaultyRun) -> None:
    """A message with lone surrogates and NUL is shown; its first line is the headline."""
    assert ("failure", "failed", "error") == (
        ran.verdict("talks"),
        ran.case("talks")["status"],
        ran.case("talks")["bounded_by"],
    )
    assert ran.shown("talks").startswith(
        f"talks-{GPU}-1: no batch size trains: batch 1 failed in forward: ValueError:\n  na"
    )
    assert 1 == ran.code
