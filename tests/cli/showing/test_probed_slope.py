"""What a sample takes by the last run's probes, beside the stored table."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest
from command_line import CASE, Output, of_case

from harness.cli.command_line import main
from harness.lockfile.write import update_lock

if TYPE_CHECKING:
    from pathlib import Path

    from harness.lockfile.profiles import LockedProfile

KIB = 1024


def stored() -> LockedProfile:
    """Make the case's profile, whose samples take 5 KiB each by its table."""
    return of_case(
        batch_size=10,
        max_batch_size=10,
        peak_memory_bytes=100 * KIB,
        memory={"parameter": 10 * KIB},
        memory_per_sample={"activation of head": 4 * KIB, "activation of neck": KIB},
    )


def leave_report(lock: Path, *peaks: tuple[int, Any], **changes: Any) -> None:
    """Lock the case, and leave the report of a run that has probed these batches."""
    profile = stored()
    update_lock(lock, [profile])
    case = {
        "id": CASE,
        "device": asdict(profile.device),
        "fingerprint": profile.fingerprint,
        "recipe": profile.recipe,
        "max_batch_size": 10,
        "probes": [
            {"kind": "train", "outcome": "fits", "batch_size": size, "peak_memory_bytes": peak}
            for size, peak in peaks
        ],
    }
    results = lock.parents[1] / ".gpu-profile"
    results.mkdir(exist_ok=True)
    (results / "report.json").write_text(json.dumps({"cases": [case | changes]}))


@pytest.mark.parametrize(
    ("then", "words"),
    [
        (75, "5.0 KiB by the probes of batch 5 and 10 in the last run: they agree"),
        (60, "8.0 KiB by the probes of batch 5 and 10 in the last run: what is unexplained grows"),
        (90, "2.0 KiB by the probes of batch 5 and 10 in the last run: what is unexplained shr"),
    ],
)
def test_table_stands_beside_the_probes(lock: Path, capsys: Output, then: int, words: str) -> None:
    """The last line compares what a sample takes; a batch next to the largest tells nothing."""
    leave_report(lock, (5, then * KIB), (9, 99 * KIB), (10, 100 * KIB))
    assert 0 == main(["show", CASE, "--memory"])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"each sample takes 5.0 KiB by this table, and {words}")


def test_document_has_the_slope_of_the_probes(lock: Path, capsys: Output) -> None:
    """The smaller batch and the bytes are under `probed`."""
    leave_report(lock, (5, 75 * KIB), (10, 100 * KIB))
    assert 0 == main(["show", CASE, "--memory", "--json"])
    (parts,) = json.loads(capsys.readouterr().out)["memory"]
    assert {"smaller_batch_size": 5, "bytes_per_sample": 5 * KIB} == parts["probed"]


@pytest.mark.parametrize(
    ("peaks", "changes"),
    [
        (((10, 100 * KIB),), {}),
        (((5, 75 * KIB), (10, 100 * KIB)), {"max_batch_size": 11}),
        (((5, 75 * KIB), (10, 100 * KIB)), {"recipe": "sha256:another"}),
        (((5, "many"), (10, True)), {}),
        ((), {"probes": 3}),
        ((), {"probes": [None, {"batch_size": []}]}),
    ],
)
def test_report_of_something_else_tells_nothing(
    lock: Path, capsys: Output, peaks: tuple[tuple[int, Any], ...], changes: dict[str, Any]
) -> None:
    """A confirmed lock has no smaller probe; another measurement, or a stranger's, has no say."""
    leave_report(lock, *peaks, **changes)
    assert 0 == main(["show", CASE, "--memory", "--json"])
    (parts,) = json.loads(capsys.readouterr().out)["memory"]
    assert parts["probed"] is None


def test_damaged_report_tells_nothing(lock: Path, capsys: Output) -> None:
    """The stored table is shown all the same."""
    leave_report(lock)
    (lock.parents[1] / ".gpu-profile" / "report.json").write_text("{")
    assert 0 == main(["show", CASE, "--memory"])
    assert "each sample takes" not in capsys.readouterr().out
