"""Finds the GPUs that a CUDA program would see on this machine, their memory and their processes.

Starts no CUDA. Every call opens NVML and closes it again, which costs nothing while a `HealthWatch`
is open.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.devices.nvml import unsupported_machines as unsupported
from harness.devices.nvml.binding import answer, open_nvml
from harness.devices.nvml.gpu import Gpu, GpuProcess, Memory
from harness.devices.nvml.visible_devices import seen_by_cuda
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator

# nvmlComputeMode_t: no program may use the GPU.
_PROHIBITED = 2
# Linux's first pid namespace: PROC_PID_INIT_INO.
_FIRST_NAMESPACE = "pid:[4026531836]"


def visible_gpus(root: Path = Path("/")) -> list[Gpu]:
    """Return the GPUs that a CUDA program would see here and could use, by PCI bus id.

    CUDA_VISIBLE_DEVICES selects and orders them. The instances of a GPU in MIG mode stand in its
    place. GPUs that cannot be profiled (compute mode prohibited, no memory of their own) are left
    out while others are seen. `root` is the folder of Linux's files.

    Raises HarnessError when no GPU can be used, with NVML's reason or the machine's, and when NVML
    cannot determine which GPU an index means; MachineError when a GPU is lost.
    """
    reason = unsupported.wsl(root)
    if reason is not None:
        raise HarnessError(f"no GPU can be used here: {reason}")
    with open_nvml("no GPU can be used here") as nvml:
        unusable: dict[str, str] = {}
        seen = seen_by_cuda(_gpus(nvml, unusable), os.environ)
    usable = [gpu for gpu in seen if gpu.uuid not in unusable]
    if seen and not usable:
        raise HarnessError(f"no GPU can be used here: {unusable[seen[0].uuid]}")
    return usable


def memory(uuid: str) -> Memory:
    """Return the memory of a GPU or MIG instance as it is now.

    Raises HarnessError when the GPU has no memory of its own, or with NVML's reason; MachineError
    when the GPU is lost.
    """
    with open_nvml(f"the memory of {uuid} cannot be read") as nvml:
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        found = _memory(nvml, handle)
        if found is None:
            raise HarnessError(unsupported.why_shared(nvml.nvmlDeviceGetName(handle)))
        return found


def processes(uuid: str, proc: Path = Path("/proc")) -> list[GpuProcess]:
    """Return the processes with a context on a GPU or MIG instance, by process id.

    They include this process. In a container the list is often empty or has the host's ids, so
    judge foreign use by memory. It is empty, too, where NVML has no answer for this driver or user.

    Raises HarnessError with NVML's reason; MachineError when the GPU is lost.
    """
    with open_nvml(f"the processes on {uuid} cannot be read") as nvml:
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        used: dict[int, int | None] = {}
        for kind in ("Compute", "Graphics"):
            for process in _running(nvml, kind, handle):
                # A process that computes and draws is in both lists, with the same bytes.
                used[process.pid] = used.get(process.pid) or process.usedGpuMemory
        return [GpuProcess(pid, used[pid], _name(nvml, pid, proc)) for pid in sorted(used)]


def newest_cuda() -> tuple[int, int] | None:
    """Return the newest CUDA that the driver supports; None where NVML does not tell.

    Raises HarnessError with NVML's reason.
    """
    with open_nvml("the driver's version of CUDA cannot be read") as nvml:
        version = answer(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2)
    return None if version is None else (version // 1000, version % 1000 // 10)


def is_persistent(uuid: str) -> bool | None:
    """Return whether the driver keeps a GPU ready while no program uses it; None: not told.

    Raises HarnessError with NVML's reason; MachineError when the GPU is lost.
    """
    with open_nvml(f"the persistence mode of {uuid} cannot be read") as nvml:
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        mode = answer(nvml, nvml.nvmlDeviceGetPersistenceMode, handle)
    return None if mode is None else bool(mode)


def _gpus(nvml: Any, unusable: dict[str, str]) -> list[Gpu]:
    """Return all GPUs by PCI bus id, with MIG instances in the place of their GPU.

    Adds to `unusable`, by UUID, the reason why a GPU cannot be profiled.
    """
    count = nvml.nvmlDeviceGetCount()
    # NVML denies a GPU that a job scheduler keeps from this user, and CUDA does not see it either.
    handles = [answer(nvml, nvml.nvmlDeviceGetHandleByIndex, index) for index in range(count)]
    allowed = [handle for handle in handles if handle is not None]
    if handles and not allowed:
        nvml.nvmlDeviceGetHandleByIndex(0)  # raises, with NVML's reason
    driver = nvml.nvmlSystemGetDriverVersion()
    found = [gpu for handle in allowed for gpu in _in_place_of(nvml, handle, driver, unusable)]
    return sorted(found, key=lambda gpu: gpu.pci_bus_id)


def _in_place_of(nvml: Any, handle: Any, driver: str, unusable: dict[str, str]) -> list[Gpu]:
    """Return the GPU itself, or its instances in MIG mode."""
    bus_id = nvml.nvmlDeviceGetPciInfo(handle).busId
    place = {
        "driver": driver,
        "pci_bus_id": bus_id.decode() if isinstance(bus_id, bytes) else bus_id,
    }
    prohibited = answer(nvml, nvml.nvmlDeviceGetComputeMode, handle) == _PROHIBITED
    mode = answer(nvml, nvml.nvmlDeviceGetMigMode, handle)
    if mode is None or not mode[0]:
        return [_gpu(nvml, handle, unusable, prohibited=prohibited, **place)]
    place |= {"mig": True, "parent_uuid": nvml.nvmlDeviceGetUUID(handle)}
    instances = []
    for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        instance = answer(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, number)
        if instance is not None:
            ids = (
                nvml.nvmlDeviceGetGpuInstanceId(instance),
                nvml.nvmlDeviceGetComputeInstanceId(instance),
            )
            instances.append(
                _gpu(nvml, instance, unusable, prohibited=prohibited, instance=ids, **place)
            )
    return instances


def _gpu(
    nvml: Any, handle: Any, unusable: dict[str, str], *, prohibited: bool, **place: Any
) -> Gpu:
    name, uuid, found = (
        nvml.nvmlDeviceGetName(handle),
        nvml.nvmlDeviceGetUUID(handle),
        _memory(nvml, handle),
    )
    shared = unsupported.why_shared(name) if found is None else unsupported.shared_memory(name)
    if shared is not None:
        unusable[uuid] = shared
    elif prohibited:
        unusable[uuid] = (
            f"the compute mode of {name} ({uuid}) is prohibited: allow it with "
            f"`nvidia-smi -i {uuid} -c 0` as root"
        )
    return Gpu(name=name, uuid=uuid, memory_bytes=found.total_bytes if found else 0, **place)


def _memory(nvml: Any, handle: Any) -> Memory | None:
    """Return the memory by NVML's account; None for a GPU that shares the host's."""
    now = answer(nvml, nvml.nvmlDeviceGetMemoryInfo, handle, nvml.nvmlMemory_v2)
    if now is not None:
        return Memory(now.total, now.free, now.used, now.reserved)
    try:
        now = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError_NotSupported:
        return None
    return Memory(now.total, now.free, now.used, None)


def _running(nvml: Any, kind: str, handle: Any) -> Iterator[Any]:
    # Only v3 is asked: the drivers that lack it, those before R510, report no MIG instances.
    call = getattr(nvml, f"nvmlDeviceGet{kind}RunningProcesses_v3")
    yield from answer(nvml, call, handle) or ()


def _name(nvml: Any, pid: int, proc: Path) -> str | None:
    """Return the name of a process.

    None when this process has a pid namespace of its own: the driver's ids mean other processes
    there.
    """
    try:
        if str((proc / "self/ns/pid").readlink()) != _FIRST_NAMESPACE:
            return None
        return (proc / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        name: str | None = answer(nvml, nvml.nvmlSystemGetProcessName, pid)
        return name
