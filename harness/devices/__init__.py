"""What a device is, and the two there are: a CUDA GPU, and the CPU with a bounded memory budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.devices.base import Device, MemoryBound, NoSuchDeviceError
from harness.devices.cpu import CpuDevice, HostBound
from harness.devices.cuda import find_cuda_device
from harness.devices.cuda_bound import CudaBound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.settings import GpuSettings

__all__ = ["Device", "MemoryBound", "NoSuchDeviceError", "find_device", "make_bound"]


def find_device(gpu: GpuSettings, target_memory_fraction: float, wait_seconds: float = 0.0) -> Device:
    """Find the device of this machine that a `gpus` entry of the matrix describes.

    wait_seconds: how long `Device.hold` waits for memory that others have.

    Raises NoSuchDeviceError, with what was looked for and what is here.
    """
    if gpu.accelerator == "cpu":
        assert gpu.budget is not None, "the matrix requires a budget for the CPU"
        return CpuDevice(gpu.budget)
    return find_cuda_device(gpu, target_memory_fraction, wait_seconds)


def make_bound(bound: Mapping[str, Any]) -> MemoryBound:
    """Make the probe's side of a device from its `Device.bound`."""
    arguments = dict(bound)
    kind = {"cpu": HostBound, "cuda": CudaBound}[arguments.pop("accelerator")]
    made: MemoryBound = kind(**arguments)
    return made
