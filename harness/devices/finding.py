"""Finds the device of this machine that an entry below `gpus` in the matrix describes."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from harness.devices.cpu import CpuDevice
from harness.devices.cuda import CudaDevice
from harness.devices.cuda_group import CudaGroup
from harness.devices.device import NoSuchDeviceError
from harness.devices.nvml import gpus as nvml
from harness.errors import HarnessError, MachineError
from harness.file_locks import WAIT_SECONDS
from harness.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.devices.device import Device
    from harness.devices.nvml.gpu import Gpu
    from harness.matrix.settings import GpuSettings

# Driver and ECC change NVML's total of one product by up to this share.
_MEMORY_TOLERANCE = 0.03


def find_device(
    gpu: GpuSettings,
    target_memory_fraction: float,
    wait_seconds: float = 0.0,
    lock_seconds: float = WAIT_SECONDS,
    uuid: str | None = None,
    *,
    count: int = 1,
) -> Device:
    """Find the device of this machine that a `gpus` entry of the matrix describes.

    wait_seconds: how long `Device.hold` waits for memory that others hold.
    lock_seconds: how long it waits for a GPU on which another run measures.
    uuid: the only GPU that may be taken; None: any that fits.
    count: the GPUs of the case; on the CPU the ranks, each with the budget for itself.

    Raises NoSuchDeviceError, which names the device that is wanted and those that are here.
    """
    if gpu.accelerator == "cpu":
        assert gpu.budget is not None, "the matrix requires a budget for the CPU"
        return CpuDevice(gpu.budget, count)
    alike = _gpus_like(gpu, uuid)
    options = gpu.budget, target_memory_fraction, wait_seconds, lock_seconds
    if count == 1:
        return CudaDevice(alike, *options)
    if len(alike) < count:
        raise NoSuchDeviceError(
            f"needs {count} GPUs of {gpu.name} for trainer.devices: {count}, all alike: this "
            f"machine has {len(alike)} visible"
        )
    return CudaGroup(count, alike, *options)


def describes(gpu: GpuSettings, name: str, memory_bytes: int) -> bool:
    """Return whether an entry of the matrix describes a GPU, by its product name and memory."""
    return (
        gpu.name is not None
        and fnmatchcase(name, gpu.name)
        and (gpu.memory is None or abs(memory_bytes - gpu.memory) <= _MEMORY_TOLERANCE * gpu.memory)
    )


def _gpus_like(gpu: GpuSettings, uuid: str | None) -> Sequence[Gpu]:
    """Find the visible GPUs that match by product name, and by memory where it is given.

    Raises NoSuchDeviceError with the GPUs that are here instead, or with the reason why none can be
    used; MachineError when a GPU is lost.
    """
    assert gpu.name is not None, "the matrix requires a name for a GPU"
    wanted = f"needs {gpu.name}" + (f" with {format_bytes(gpu.memory)}" if gpu.memory else "")
    try:
        visible = nvml.visible_gpus()
    except MachineError:
        raise
    except HarnessError as error:
        raise NoSuchDeviceError(f"{wanted}: {error}") from error
    fitting = [
        found
        for found in visible
        if describes(gpu, found.name, found.memory_bytes) and uuid in (None, found.uuid)
    ]
    if not fitting:
        here = ", ".join(f"{found.name} ({format_bytes(found.memory_bytes)})" for found in visible)
        raise NoSuchDeviceError(f"{wanted}: this machine has {here or 'no visible GPU'}")
    alike = [found for found in fitting if found.identity == fitting[0].identity]
    if gpu.budget is not None and gpu.budget > alike[0].memory_bytes:
        raise NoSuchDeviceError(
            f"needs a GPU with room for a budget of {format_bytes(gpu.budget)}: "
            f"{alike[0].name} has {format_bytes(alike[0].memory_bytes)}"
        )
    return alike
