"""The verb `calibrate` compares the table with a GPU, and predictions with measurements."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from json_documents import assert_described
from measurements import H200, locked
from nvml_stub import gpu, world

from harness.cli.answers.answer import document_text
from harness.cli.calibrate import _lines, compare
from harness.cli.command_line import main
from harness.device_identity import DeviceIdentity
from harness.predict.gpus import by_label

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project

    from harness.lockfile.profiles import LockedProfile

MIB = 1 << 20


def report(
    name: str, nvml_bytes: int, facts: dict[str, Any], profiles: list[LockedProfile]
) -> tuple[list[str], bool]:
    """Return the lines of a comparison, and whether something differs; check its document."""
    found = compare(DeviceIdentity(name, nvml_bytes), facts, profiles)
    assert_described(json.loads(document_text("calibrate", found)), "calibrate")
    verdicts = {row["verdict"] for row in (*found["facts"], *found["predictions"])}
    return [*_lines(found)], "differs" in verdicts


def facts(**changes: Any) -> dict[str, Any]:
    """Return the facts of an H200 that agrees with the table."""
    known = by_label("H200")
    return {
        "torch": "2.13.0",
        "cuda": "13.0",
        "total_bytes": known.total_bytes,
        "capability": list(known.capability),
        "multiprocessors": known.sm_count,
        "context_bytes": 500 * MIB,
    } | changes


def test_gpu_as_the_table_has_it() -> None:
    """Each value of the GPU stands beside that of the table, and nothing differs."""
    lines, off = report(H200.name, H200.memory_bytes, facts(), [])
    assert not off
    assert "NVIDIA H200, torch 2.13.0, CUDA 13.0" == lines[0]
    rows = [line.split()[-3:] for line in lines[4:8]]
    assert [
        ["143771", "143771", "same"],
        ["143156", "143156", "same"],
        ["9.0", "9.0", "same"],
        ["132", "132", "same"],
    ] == rows


@pytest.mark.parametrize(
    ("changes", "row"),
    [
        ({"total_bytes": 140_000 * MIB}, "torch's total, MiB"),
        ({"capability": [10, 0]}, "compute capability"),
        ({"multiprocessors": 108}, "multiprocessors"),
    ],
)
def test_what_differs_is_named(changes: dict[str, Any], row: str) -> None:
    """A value of the table that the GPU contradicts is marked, and `report` says so."""
    lines, off = report(H200.name, H200.memory_bytes, facts(**changes), [])
    assert off
    assert [row] == [line[: len(row)] for line in lines if line.endswith("differs")]


def test_unknown_gpu_has_what_the_table_needs() -> None:
    """A GPU that is not in the table is no mistake; its values are those to add."""
    lines, off = report("NVIDIA B300", 280_000 * MIB, facts(), [])
    assert not off
    assert (
        "this GPU is not in the table (harness/predict/gpu_table.py); its row needs the values above"
        == lines[-1]
    )


def test_predictions_are_compared_with_what_was_measured() -> None:
    """A prediction may be off by 5%; profiles without both numbers are left out."""
    profiles = [
        locked(predicted_batch_size=3600),
        locked(resolution=32, predicted_batch_size=3000),
        locked(resolution=64),
        locked(resolution=96, source="predicted", predicted_batch_size=3712),
    ]
    lines, off = report(H200.name, H200.memory_bytes, facts(), profiles)
    assert off
    rows = [line.split() for line in lines if line.startswith("resnet18")]
    assert [
        ["resnet18-h200-224", "3600", "3712", "-3.0%", "same"],
        ["resnet18-h200-32", "3000", "3712", "-19.2%", "differs"],
    ] == rows


def test_machine_without_a_gpu_has_nothing_to_measure(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """`calibrate` without a GPU exits with 2 and prints the reason."""
    monkeypatch.chdir(project.path)
    for name, value in world(tmp_path, []).items():
        monkeypatch.setenv(name, value)
    assert 2 == main(["calibrate"])
    assert capsys.readouterr().err.startswith("gpu-profile: ")


def test_gpu_that_torch_cannot_use_is_the_machines_trouble(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """`calibrate` with torch's CPU build exits with 2 and names the GPU and the reason."""
    if torch.backends.cuda.is_built():  # type: ignore[no-untyped-call] # torch leaves it untyped
        pytest.skip("this torch has CUDA")
    for name, value in world(tmp_path, [gpu()]).items():
        monkeypatch.setenv(name, value)
    result = project.pytester.run("gpu-profile", "calibrate")
    assert 2 == result.ret
    result.stderr.fnmatch_lines(["gpu-profile: NVIDIA H200 (GPU-a) could not be measured: *CUDA*"])
