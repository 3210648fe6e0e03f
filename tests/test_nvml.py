"""Which GPUs are visible, with NVML's answers given by a stand-in for its Python binding."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.measurement import DeviceIdentity
from harness.nvml import Gpu, visible_gpus

UUIDS = ("GPU-aaaa1111", "GPU-aaaa2222", "GPU-bbbb3333")


class NVMLError(Exception):
    """NVML's own error."""


class StandIn:
    """NVML's binding on a machine with three GPUs."""

    NVMLError = NVMLError

    def __init__(self) -> None:
        self.sessions = 0
        self.fail_at: str | None = None

    def _answer(self, name: str, value: Any) -> Any:
        if name == self.fail_at:
            raise NVMLError(f"{name} failed")
        return value

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name
        """Open a session."""
        self._answer("init", None)
        self.sessions += 1

    def nvmlShutdown(self) -> None:  # noqa: N802 - NVML's name
        """Close it."""
        self.sessions -= 1

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802 - NVML's name
        """Return the driver's version."""
        return "580.159.03"

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - NVML's name
        """Return the number of GPUs."""
        return len(UUIDS)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802 - NVML's name
        """Return a handle."""
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802 - NVML's name
        """Return the product's name."""
        return f"NVIDIA {'AAB'[handle]}"

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802 - NVML's name
        """Return the UUID."""
        return UUIDS[handle]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802 - NVML's name
        """Return the memory."""
        return self._answer("memory", SimpleNamespace(total=1000 + handle))


@pytest.fixture
def binding(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Put the stand-in in the place of the binding, with no selection of GPUs."""
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "pynvml", stand_in)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return stand_in


def test_without_a_selection_all_are_visible(binding: StandIn) -> None:
    """GPUs come in NVML's, that is PCI, order, with what identifies them."""
    gpus = visible_gpus()
    assert gpus[0] == Gpu("NVIDIA A", 1000, "GPU-aaaa1111", "580.159.03")
    assert [gpu.identity for gpu in gpus[1:]] == [
        DeviceIdentity("NVIDIA A", 1001),
        DeviceIdentity("NVIDIA B", 1002),
    ]


def test_the_session_is_closed(binding: StandIn) -> None:
    """NVML is left as it was found, after success and failure."""
    visible_gpus()
    binding.fail_at = "memory"
    with pytest.raises(HarnessError):
        visible_gpus()
    assert binding.sessions == 0


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
        ("GPU-b,GPU-bbbb3333", []),
    ],
)
def test_selection_is_cudas(
    binding: StandIn, monkeypatch: pytest.MonkeyPatch, value: str, indexes: list[int]
) -> None:
    """Indexes and beginnings of UUIDs, in their order, up to the first that names no GPU; twice is none."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert [gpu.uuid for gpu in visible_gpus()] == [UUIDS[index] for index in indexes]


def test_mig_instances_are_refused(binding: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of an instance is not that of its GPU, whose profile would be wrong."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1234")
    with pytest.raises(
        HarnessError, match="names the MIG instance MIG-1234: profiles are made on whole GPUs"
    ):
        visible_gpus()


def test_no_driver_is_told_with_nvmls_reason(binding: StandIn) -> None:
    """A machine without a driver says why no GPU can be used."""
    binding.fail_at = "init"
    with pytest.raises(HarnessError, match="no GPU can be used here: NVML says init failed"):
        visible_gpus()


def test_a_gpu_that_cannot_be_read_is_told(binding: StandIn) -> None:
    """A lost GPU, or one that shares the host's memory, is an error with NVML's reason."""
    binding.fail_at = "memory"
    with pytest.raises(HarnessError, match="the GPUs cannot be read: NVML says memory failed"):
        visible_gpus()


def test_without_the_binding_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing nvidia-ml-py is told by the name to install."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(HarnessError, match="nvidia-ml-py cannot be imported"):
        visible_gpus()
