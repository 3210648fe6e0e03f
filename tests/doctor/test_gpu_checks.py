"""What doctor says of GPUs and drivers; NVML's binding runs against a stub library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from doctor import ON_GPUS
from nvml_stub import GIB, gpu, instance, told, world
from projects import copy_into

if TYPE_CHECKING:
    from pathlib import Path

MATRIX = """\
version: 1
matrix: {model: [net], gpu: [h200, a100], resolution: [1]}
models: {net: {module: {class_path: zoo.Net}, data: {class_path: zoo.Numbers}}}
gpus: {h200: {name: NVIDIA H200}, a100: {name: NVIDIA A100*}}
"""
# Of the driver and of the GPU itself, where nothing is to be told.
HEALTHY = ["NVIDIA's driver 580.95.05", "NVIDIA H200 (GPU-a): 140.4 GiB of 140.4 GiB free"]


def driver(environment: dict[str, str], **variables: str | None) -> list[dict[str, Any]]:
    """Return what the check of driver and GPUs finds in a world."""
    found: list[dict[str, Any]] = told(ON_GPUS + "found(gpus.driver)", environment, **variables)[0]
    return found


def wrong_or_note(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return level and text of what is not ok."""
    return [(one["level"], one["found"]) for one in found if one["level"] != "ok"]


def test_healthy_gpu_is_ok(tmp_path: Path) -> None:
    """Driver, newest CUDA and memory are told with their values."""
    found = driver(world(tmp_path, [gpu()], cuda=13010))
    assert [("ok", f"{HEALTHY[0]}, CUDA up to 13.1"), ("ok", HEALTHY[1])] == [
        (one["level"], one["found"]) for one in found
    ]


def test_instance_of_a_gpu_in_mig_mode_is_told(tmp_path: Path) -> None:
    """An instance is what CUDA sees, with the instance's memory."""
    name = "NVIDIA H200 MIG 1g.18gb"
    one = instance(name, 16 * GIB, uuid="MIG-1", ids="7 0", slot=0)
    found = driver(world(tmp_path, [gpu(instances=[one])]))
    told_of = f"{name} (MIG-1): 16.0 GiB of 16.0 GiB free, an instance of a GPU in MIG mode"
    assert told_of in [one["found"] for one in found]


@pytest.mark.parametrize(
    ("facts", "level", "text"),
    [
        ({"ecc": 2}, "wrong", "2 uncorrected ECC errors since the driver was loaded"),
        ({"remapped": "0 1"}, "wrong", "remapping a memory row failed"),
        ({"persistence": 0}, "note", "persistence mode is off"),
        ({"reasons": 0x40}, "note", "is slowed down now (hardware thermal slowdown)"),
    ],
)
def test_condition_of_a_gpu_is_judged(
    tmp_path: Path, facts: dict[str, Any], level: str, text: str
) -> None:
    """Errors of the hardware are wrong, what makes it slow is a note; each has a remedy."""
    found = [one for one in driver(world(tmp_path, [gpu(**facts)])) if one["level"] != "ok"]
    assert [level] == [one["level"] for one in found]
    assert text in found[0]["found"]
    assert "nvidia-smi" in found[0]["remedy"]


def test_process_of_another_that_holds_the_memory_is_named(tmp_path: Path) -> None:
    """A GPU on which a run would wait is wrong, and the process has its id and its bytes."""
    busy = gpu(free=GIB, used=139 * GIB, process=["compute 4194303 149250113536"])
    found = [one for one in driver(world(tmp_path, [busy])) if one["level"] != "ok"]
    assert ["wrong"] == [one["level"] for one in found]
    assert (
        "is busy: 1.0 GiB are free, and a probe may use 126.4 GiB; used by process 4194303"
        in (found[0]["found"])
    )
    assert "--gpu-profile-wait" in found[0]["remedy"]


def test_process_that_leaves_enough_memory_is_a_note(tmp_path: Path) -> None:
    """A run would begin beside it, so nothing is wrong."""
    shared = gpu(free=133 * GIB, used=7 * GIB, process=["compute 4194303 7516192768"])
    told_of = wrong_or_note(driver(world(tmp_path, [shared])))
    assert ["note"] == [level for level, _ in told_of]
    assert "others hold 7.0 GiB of its memory, and leave enough; used by" in told_of[0][1]


@pytest.mark.parametrize(
    ("failure", "remedy"),
    [
        ("nvmlInitWithFlags 18", "reboot, or reload the module"),
        ("nvmlInitWithFlags 15", "reset it"),
    ],
)
def test_broken_driver_is_wrong(tmp_path: Path, failure: str, remedy: str) -> None:
    """NVML's reason is told with what mends it."""
    told_of = wrong_or_note(driver(world(tmp_path, [gpu()], fail=failure)))
    assert ["wrong"] == [level for level, _ in told_of]
    assert remedy in told_of[0][1]


def test_lost_gpu_does_not_hide_the_others(tmp_path: Path) -> None:
    """One GPU that NVML cannot watch is wrong, and the next one is still told."""
    broken = gpu(fail=["nvmlDeviceGetTotalEccErrors 15"])
    well = gpu(uuid="GPU-b", bus="00000000:08:00.0")
    found = driver(world(tmp_path, [broken, well]))
    assert ["wrong"] == [level for level, _ in wrong_or_note(found)]
    assert "NVIDIA H200 (GPU-b): 140.4 GiB of 140.4 GiB free" in [one["found"] for one in found]


def test_hidden_gpus_are_a_note(tmp_path: Path) -> None:
    """CUDA_VISIBLE_DEVICES may hide every GPU, which is no fault of the machine."""
    found = driver(world(tmp_path, [gpu()]), CUDA_VISIBLE_DEVICES="-1")
    assert [("note", "CUDA_VISIBLE_DEVICES=-1 hides every GPU")] == wrong_or_note(found)


def test_labels_of_the_matrix_are_matched_with_this_machine(tmp_path: Path) -> None:
    """A label whose GPU is here is ok; the cases of another one are measured elsewhere."""
    copy_into(tmp_path, "zoo.py")
    (tmp_path / "matrix.yaml").write_text(MATRIX, encoding="utf-8")
    script = f"{ON_GPUS}found(gpus.labels, {str(tmp_path / 'matrix.yaml')!r})"
    h200, a100 = told(script, world(tmp_path, [gpu()]))[0]
    assert ("ok", "h200 (1 case): NVIDIA H200, 140.4 GiB") == (h200["level"], h200["found"])
    assert (
        "note",
        "a100 (1 case) needs NVIDIA A100*: this machine has NVIDIA H200 (140.4 GiB)",
    ) == (
        a100["level"],
        a100["found"],
    )
    assert "gpu-profile predict net-a100-1" in a100["remedy"]
