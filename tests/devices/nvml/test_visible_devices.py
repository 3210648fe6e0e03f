"""The GPUs that CUDA sees, by CUDA_VISIBLE_DEVICES, CUDA_DEVICE_ORDER and MIG."""

from __future__ import annotations

import re

import pytest

from harness.devices.nvml.gpu import Gpu
from harness.devices.nvml.visible_devices import seen_by_cuda
from harness.errors import HarnessError

DRIVER = "580.95.05"


def alike(*uuids: str, driver: str = DRIVER) -> list[Gpu]:
    """Make GPUs of one model."""
    return [Gpu("NVIDIA H200", 1000, uuid, driver) for uuid in uuids]


def mig(uuid: str, parent: str, ids: tuple[int, int], driver: str = DRIVER) -> Gpu:
    """Make an instance of a GPU in MIG mode."""
    return Gpu(
        "NVIDIA A100 MIG 1g.5gb", 5, uuid, driver, mig=True, parent_uuid=parent, instance=ids
    )


THREE = alike("GPU-aaaa1111", "GPU-aaaa2222", "GPU-bbbb3333")
DIFFERENT = [*THREE[:2], Gpu("NVIDIA T4", 16, "GPU-cccc", DRIVER)]
# Two compute instances in one GPU instance, then one in another; a GPU without MIG after them.
INSTANCES = [
    mig("MIG-1a", "GPU-p", (1, 0)),
    mig("MIG-1b", "GPU-p", (1, 1)),
    mig("MIG-2", "GPU-p", (2, 0)),
]
MIXED = [*INSTANCES, *alike("GPU-whole")]


def seen(gpus: list[Gpu], value: str | None = None, order: str | None = None) -> list[str]:
    """Return the UUIDs of the GPUs that CUDA sees with these values of its variables."""
    variables = {"CUDA_VISIBLE_DEVICES": value, "CUDA_DEVICE_ORDER": order}
    return [
        gpu.uuid
        for gpu in seen_by_cuda(
            gpus, {name: to for name, to in variables.items() if to is not None}
        )
    ]


def test_without_a_selection_all_are_seen() -> None:
    """Without a selection all GPUs are seen, different models included."""
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
    """Indexes and starts of UUIDs count up to the first without a GPU; a repeat selects none."""
    assert [THREE[index].uuid for index in indexes] == seen(THREE, value)


@pytest.mark.parametrize("order", [None, "FASTEST_FIRST"])
def test_an_index_among_different_models_is_refused(order: str | None) -> None:
    """CUDA would count the fastest GPU first, and NVML does not know which one that is."""
    message = "the GPUs differ (NVIDIA H200, NVIDIA T4): unless CUDA_DEVICE_ORDER says otherwise"
    with pytest.raises(HarnessError, match=re.escape(message)):
        seen(DIFFERENT, "0", order)


def test_one_name_with_other_memory_is_another_model() -> None:
    """GPUs of one name with different memory are different models, as their profiles differ."""
    with pytest.raises(HarnessError, match="the GPUs differ"):
        seen(
            [Gpu("RTX 3080", 10_000, "GPU-a", DRIVER), Gpu("RTX 3080", 12_000, "GPU-b", DRIVER)],
            "1",
        )


@pytest.mark.parametrize(
    ("value", "order", "uuid"), [("2", "PCI_BUS_ID", "GPU-cccc"), ("GPU-c", None, "GPU-cccc")]
)
def test_different_models_are_told_apart(value: str, order: str | None, uuid: str) -> None:
    """An index is clear in the PCI bus's order, and a UUID in every order."""
    assert [uuid] == seen(DIFFERENT, value, order)


@pytest.mark.parametrize("value", ["", "-1", "9"])
def test_selecting_none_needs_no_order(value: str) -> None:
    """A value that selects no GPU does so in every order."""
    assert [] == seen(DIFFERENT, value)


def test_cuda_sees_one_compute_instance_of_each_gpu_instance() -> None:
    """Since R570, CUDA sees each GPU instance's first compute instance, and GPUs without MIG."""
    assert ["MIG-1a", "MIG-2", "GPU-whole"] == seen(MIXED)


def test_older_drivers_see_a_single_instance() -> None:
    """Before R570, CUDA sees a single compute instance, and then no GPU without MIG."""
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
    """An instance is selected by UUID, or by its name before R470: GPU and the instances' ids."""
    assert uuids == seen(MIXED, value)


def test_an_instance_of_a_driver_before_r470() -> None:
    """Before R470, the UUID of an instance consists of its GPU's and of its ids."""
    instance = mig("MIG-GPU-p/1/0", "GPU-p", (1, 0), "460.32.03")
    assert ["MIG-GPU-p/1/0"] == seen([instance], "MIG-GPU-p/1/0")


def test_a_gpu_in_mig_mode_is_not_selected_whole() -> None:
    """The UUID of a GPU in MIG mode is refused, as NVIDIA does not say what it means then."""
    with pytest.raises(
        HarnessError, match="names GPU-p, which is in MIG mode: name its instances instead"
    ):
        seen(MIXED, "GPU-p")


def test_an_index_among_instances_is_refused() -> None:
    """NVIDIA does not say what an index counts with MIG; with a single instance it is clear."""
    with pytest.raises(HarnessError, match="gives an index where a GPU is in MIG mode"):
        seen(MIXED, "0", "PCI_BUS_ID")
    assert ["MIG-2"] == seen(INSTANCES[2:], "0")
