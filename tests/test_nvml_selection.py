"""Which of the GPUs CUDA sees: CUDA_VISIBLE_DEVICES, CUDA_DEVICE_ORDER and MIG."""

from __future__ import annotations

import re

import pytest

from harness.errors import HarnessError
from harness.nvml import Gpu
from harness.visible import seen_by_cuda

DRIVER = "580.95.05"


def alike(*uuids: str, driver: str = DRIVER) -> list[Gpu]:
    """Make GPUs of one model."""
    return [Gpu("NVIDIA H200", 1000, uuid, driver) for uuid in uuids]


def mig(uuid: str, parent: str, ids: tuple[int, int], driver: str = DRIVER) -> Gpu:
    """Make an instance of a GPU in MIG mode."""
    return Gpu("NVIDIA A100 MIG 1g.5gb", 5, uuid, driver, mig=True, parent_uuid=parent, instance=ids)


THREE = alike("GPU-aaaa1111", "GPU-aaaa2222", "GPU-bbbb3333")
DIFFERENT = [*THREE[:2], Gpu("NVIDIA T4", 16, "GPU-cccc", DRIVER)]
# Two compute instances in one GPU instance, then one in another; a GPU without MIG after them.
INSTANCES = [mig("MIG-1a", "GPU-p", (1, 0)), mig("MIG-1b", "GPU-p", (1, 1)), mig("MIG-2", "GPU-p", (2, 0))]
MIXED = [*INSTANCES, *alike("GPU-whole")]


def seen(gpus: list[Gpu], value: str | None = None, order: str | None = None) -> list[str]:
    """Return the UUIDs that CUDA sees under these values of its variables."""
    variables = {"CUDA_VISIBLE_DEVICES": value, "CUDA_DEVICE_ORDER": order}
    return [
        gpu.uuid for gpu in seen_by_cuda(gpus, {name: to for name, to in variables.items() if to is not None})
    ]


def test_without_a_selection_all_are_seen() -> None:
    """Different models are no obstacle: who sees all of them is in no doubt."""
    assert ["GPU-aaaa1111", "GPU-aaaa2222", "GPU-cccc"] == seen(DIFFERENT)


@pytest.mark.parametrize(
    ("value", "indexes"),
    [
        ("", []),
        ("0", [0]),
        ("2,0", [2, 0]),
        (" 1 , 2 ", [1, 2]),
        ("-1", []),
        ("0,-1,1", [0]),
        ("1,7,0", [1]),
        ("1,x,0", [1]),
        ("0,0", []),
        ("NoDevFiles", []),
        ("GPU-bbbb3333", [2]),
        ("GPU-b", [2]),
        ("gpu-b", []),
        ("GPU-BBBB", [2]),
        ("GPU-a", []),
        ("GPU-cccc", []),
        ("GPU-bbbb3333,GPU-aaaa1111", [2, 0]),
        ("GPU-b,0", [2, 0]),
        ("GPU-b,GPU-bbbb3333", []),
        ("MIG-1a", []),
    ],
)
def test_a_selection_is_read_as_cuda_does(value: str, indexes: list[int]) -> None:
    """Indexes and beginnings of UUIDs, in their order, up to the first that names no GPU; twice is none."""
    assert [THREE[index].uuid for index in indexes] == seen(THREE, value)


@pytest.mark.parametrize("order", [None, "FASTEST_FIRST"])
def test_an_index_among_different_models_is_refused(order: str | None) -> None:
    """CUDA then counts the fastest GPU first, and which one that is NVML does not know."""
    message = "the GPUs differ (NVIDIA H200, NVIDIA T4): unless CUDA_DEVICE_ORDER says otherwise"
    with pytest.raises(HarnessError, match=re.escape(message)):
        seen(DIFFERENT, "0", order)


def test_one_name_with_other_memory_is_another_model() -> None:
    """Some products are sold with different memory under one name, and profiles differ with it."""
    with pytest.raises(HarnessError, match="the GPUs differ"):
        seen([Gpu("RTX 3080", 10_000, "GPU-a", DRIVER), Gpu("RTX 3080", 12_000, "GPU-b", DRIVER)], "1")


@pytest.mark.parametrize(
    ("value", "order", "uuid"), [("2", "PCI_BUS_ID", "GPU-cccc"), ("GPU-c", None, "GPU-cccc")]
)
def test_different_models_are_told_apart(value: str, order: str | None, uuid: str) -> None:
    """The order of the PCI bus is NVML's as well, and a UUID means one GPU in any order."""
    assert [uuid] == seen(DIFFERENT, value, order)


@pytest.mark.parametrize("value", ["", "-1", "9"])
def test_selecting_none_needs_no_order(value: str) -> None:
    """What selects no GPU does so in any order."""
    assert [] == seen(DIFFERENT, value)


def test_cuda_sees_one_compute_instance_of_each_gpu_instance() -> None:
    """Drivers since R570 enumerate the first of several, and GPUs without MIG beside them."""
    assert ["MIG-1a", "MIG-2", "GPU-whole"] == seen(MIXED)


def test_older_drivers_see_a_single_instance() -> None:
    """Those before R570 enumerate one compute instance, and then no GPU without MIG."""
    driver = "535.230.02"
    older = [
        *alike("GPU-whole", driver=driver),
        mig("MIG-1", "GPU-p", (1, 0), driver),
        mig("MIG-2", "GPU-p", (2, 0), driver),
    ]
    assert ["MIG-1"] == seen(older)
    assert ["MIG-2"] == seen(older, "GPU-whole,MIG-2,MIG-1")
    assert ["GPU-whole"] == seen(older, "GPU-whole")


@pytest.mark.parametrize(
    ("value", "uuids"),
    [
        ("MIG-2", ["MIG-2"]),
        ("MIG-1b", ["MIG-1b"]),
        ("MIG-1b,MIG-1a", ["MIG-1b"]),
        ("MIG-2,GPU-whole,MIG-1a", ["MIG-2", "GPU-whole", "MIG-1a"]),
        ("MIG-GPU-p/2/0", ["MIG-2"]),
        ("MIG-GPU-P/1/1", ["MIG-1b"]),
        ("MIG-GPU-p/9/0", []),
        ("MIG-1", []),
        ("MIG-3,MIG-2", []),
    ],
)
def test_instances_are_selected_by_id(value: str, uuids: list[str]) -> None:
    """By their UUID, or as drivers before R470 name them: by GPU, GPU instance and compute instance."""
    assert uuids == seen(MIXED, value)


def test_an_instance_of_a_driver_before_r470() -> None:
    """Its only UUID is made of its GPU's and its ids."""
    instance = mig("MIG-GPU-p/1/0", "GPU-p", (1, 0), "460.32.03")
    assert ["MIG-GPU-p/1/0"] == seen([instance], "MIG-GPU-p/1/0")


def test_a_gpu_in_mig_mode_is_not_selected_whole() -> None:
    """NVIDIA does not say what its UUID means then."""
    with pytest.raises(HarnessError, match="names GPU-p, which is in MIG mode: name its instances instead"):
        seen(MIXED, "GPU-p")


def test_an_index_among_instances_is_refused() -> None:
    """NVIDIA does not say what it counts then; a single instance is in no doubt."""
    with pytest.raises(HarnessError, match="gives an index where a GPU is in MIG mode"):
        seen(MIXED, "0", "PCI_BUS_ID")
    assert ["MIG-2"] == seen(INSTANCES[2:], "0")
