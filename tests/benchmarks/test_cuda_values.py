"""What a session on a GPU is compared with, and how its facts are read."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import cuda_summary
import pytest
from cuda_experiments import simulation
from cuda_experiments.convolutions import COLUMNS, rows_of, workspace_bytes
from cuda_experiments.models import WORKLOADS
from cuda_experiments.networks import NETWORKS
from cuda_experiments.processes import ROOT
from cuda_experiments.simulation import VALUES, expected_of, key_of, values_of

if TYPE_CHECKING:
    from pathlib import Path

ROW: dict[str, Any] = {
    "kind": "dgrad",
    "dtype": "float32",
    "input": [2, 4, 8, 8],
    "weight": [4, 4, 3, 3],
    "gradient": [2, 4, 8, 8],
    "stride": [1, 1],
    "padding": [1, 1],
    "dilation": [1, 1],
    "transposed": False,
    "groups": 1,
    "formats": ["contiguous", "contiguous", "contiguous"],
    "backend": "Cudnn",
    "passing": [777],
    "at_once": 777,
    "kept": [2048],
    "count": 3,
}
STRIDED = ["both", "contiguous", "strided"]
IMAGE, WEIGHT = 2 * 4 * 8 * 8 * 4, 4 * 4 * 3 * 3 * 4
B = {"B": 40, "bounded_by": "memory", "exact": True, "limit_bytes": 100}
PROBE = {"outcome": "fits", "allocated_bytes": 1 << 20, "reserved_bytes": 2 << 20, "retries": 0}
NETWORK = {
    "batch_size": 32,
    "peak_allocated_bytes": 3 << 20,
    "peak_reserved_bytes": 4 << 20,
    "retries": 0,
    "columns": [*COLUMNS],
    "rows": [[ROW[name] for name in COLUMNS]],
}
CONTENT = {
    "simulated": True,
    "gpu": "simulated NVIDIA H200",
    "torch": "2.11.0",
    "budget_bytes": 4 << 30,
    "experiments": {
        "7": {
            "title": "eight workloads",
            "status": "done",
            "seconds": 1.0,
            "facts": {
                "vit, batch 40": PROBE | {"phase": None},
                "vit": B,
                "vit, given batch 20": PROBE | {"seconds": 1.0},
            },
        },
        "11": {
            "title": "convolutions",
            "status": "done",
            "seconds": 1.0,
            "facts": {"vgg11, float32, batch 32": NETWORK},
        },
    },
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 777),
        ({"passing": [], "at_once": 0}, 0),
        ({"passing": [999, 777], "at_once": 999}, 999),
        ({"passing": [IMAGE, 777], "at_once": IMAGE + 777}, IMAGE + 777),
        ({"passing": [777, IMAGE], "at_once": IMAGE + 777, "formats": STRIDED}, 777),
        ({"passing": [IMAGE], "at_once": IMAGE, "formats": STRIDED}, 0),
        (
            {
                "passing": [777, WEIGHT, IMAGE],
                "at_once": WEIGHT + IMAGE + 777,
                "formats": ["channels_last", "contiguous", "both"],
            },
            777,
        ),
        ({"formats": ["channels_last", "channels_last", "both"]}, 777),
        (
            {
                "passing": [5, IMAGE // 2],
                "at_once": IMAGE // 2 + 5,
                "dtype": "bfloat16",
                "formats": STRIDED,
            },
            5,
        ),
        ({"kind": "fprop", "gradient": None, "formats": ["contiguous", "both"]}, 777),
    ],
)
def test_workspace_is_what_came_and_went_but_copies(changes: dict[str, Any], expected: int) -> None:
    """A block of an operand's size is a copy where the memory formats differ, and only there."""
    assert expected == workspace_bytes(ROW | changes)


def test_rows_are_read_by_their_columns() -> None:
    """A row has the names of its columns, and its workspace beside them."""
    assert [ROW | {"workspace": 777}] == list(rows_of(NETWORK))


def test_values_of_a_recorded_session() -> None:
    """B, the peaks of given batches and of networks are kept; rows are not."""
    values = values_of(CONTENT)
    assert {
        "vit": B | {"batches": {"20": PROBE}},
    } == values["workloads"]
    peaks = ("peak_allocated_bytes", "peak_reserved_bytes", "retries")
    assert {
        "float32, batch 32": {"vgg11": {key: NETWORK[key] for key in peaks}},
    } == values["networks"]


@pytest.mark.parametrize(
    ("gpu", "torch_version", "expected"),
    [
        ("NVIDIA H200", "2.11.0+cu130", "torch 2.11.0, NVIDIA H200"),
        ("NVIDIA A10", "2.11.0", "torch 2.11.0, NVIDIA H100"),
        ("NVIDIA H200", "2.9.1", "torch 2.10.0, NVIDIA H100"),
    ],
)
def test_nearest_values_are_taken(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    gpu: str,
    torch_version: str,
    expected: str,
) -> None:
    """Those of the same torch and GPU, else of the same torch, else any; they say whose."""
    known = ("torch 2.10.0, NVIDIA H100", "torch 2.11.0, NVIDIA H100", "torch 2.11.0, NVIDIA H200")
    path = tmp_path / "values.json"
    path.write_text(json.dumps({key: {"of itself": key} for key in known}), encoding="utf-8")
    monkeypatch.setattr(simulation, "VALUES", path)
    assert {"of": expected, "of itself": expected} == expected_of(gpu, torch_version)


def test_simulated_gpus_have_the_key_of_the_real_ones() -> None:
    """What was recorded on a simulated GPU is found on the real one."""
    assert "torch 2.11.0, NVIDIA H200" == key_of("simulated NVIDIA H200", "2.11.0+cu130")


@pytest.mark.parametrize("gpu", ["NVIDIA H100 80GB HBM3", "NVIDIA H200"])
def test_values_of_the_lent_gpus_are_committed(gpu: str) -> None:
    """All workloads and networks have values of torch 2.11 for both GPUs."""
    values = json.loads(VALUES.read_text(encoding="utf-8"))[key_of(gpu, "2.11.0")]
    assert set(WORKLOADS) == set(values["workloads"])
    endings = ("float32, batch 32", "bfloat16, batch 32", "float32, batch 8")
    assert {ending: set(NETWORKS) for ending in endings} == {
        ending: set(peaks) for ending, peaks in values["networks"].items()
    }
    assert [] == [name for name, one in values["workloads"].items() if not one["exact"]]


def test_summary_sets_measured_values_beside_simulated_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says whose facts they are, and shows B, peaks, and the workspaces of a network."""
    path = tmp_path / "s.json"
    content = json.loads(json.dumps(CONTENT))
    content["experiments"]["7"]["facts"]["vit"]["simulated"] = {"B": 50}
    path.write_text(json.dumps(content), encoding="utf-8")
    assert 0 == cuda_summary.main([str(path)])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert "simulated NVIDIA H200, torch 2.11.0; compared with nothing" == " ".join(lines[0])
    assert ["vit", "B", "40", "50", "0.8"] in lines
    assert ["vgg11,", "float32,", "batch", "32", "3", "3", "3", "0", "0", "0"] in lines
    assert 0 == cuda_summary.main([str(path), "--network", "vgg11"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    formats = "contiguous/contiguous/contiguous"
    assert [
        ["dgrad", "float32", "2x4x8x8", "4x4x3x3", "1x1", "1", formats, "Cudnn", "3", "777"]
    ] == lines[2:]
    assert 1 == cuda_summary.main([str(path), "--network", "resnet18"])


def test_wheels_are_those_of_the_constraints() -> None:
    """A machine without an index gets the versions that the project was last tested with."""
    script = (ROOT / "benchmarks" / "bare_machine.sh").read_text(encoding="utf-8")
    wheels = dict(re.findall(r"\b([a-z-]+)==([\d.]+)", script))
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = {
        name.lower().replace("_", "-"): version
        for name, _, version in (line.partition("==") for line in lines)
        if version
    }
    assert {"lightning", "pydantic", "tabulate", "tomli-w"} == set(wheels) & set(tested)
    assert [] == [name for name in set(wheels) & set(tested) if wheels[name] != tested[name]]
