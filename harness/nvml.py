"""The GPUs of this machine, as NVML knows them and CUDA shows them; their memory, and who uses it.

Starts no CUDA. Every call opens NVML and closes it again; while a `Watch` is open, that costs nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import unsupported
from harness.errors import HarnessError
from harness.gpu_health import Watch
from harness.measurement import DeviceIdentity
from harness.nvml_session import answer, session
from harness.visible import seen_by_cuda

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Gpu", "GpuProcess", "Memory", "Watch", "memory", "processes", "visible_gpus"]


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as CUDA sees it: a whole one, or an instance of one in MIG mode."""

    name: str
    """The product's name; of an instance, with its profile: NVIDIA A100-SXM4-40GB MIG 1g.5gb."""
    memory_bytes: int
    """NVML's total; of an instance, its own."""
    uuid: str
    """What CUDA_VISIBLE_DEVICES takes: GPU-… or MIG-…."""
    driver: str
    """The driver's version."""
    pci_bus_id: str = ""
    """Of the physical GPU, as domain:bus:device.function."""
    index: int = 0
    """NVML's, of the physical GPU."""
    mig: bool = False
    """Whether it is an instance of a GPU in MIG mode."""
    parent_uuid: str | None = None
    """The physical GPU of an instance."""
    compute_mode: str = "default"
    """Who may use it: default (all), exclusive process (one at a time) or prohibited (none)."""
    instance: tuple[int, int] | None = None
    """NVML's ids of the GPU instance and of the compute instance in it."""

    @property
    def identity(self) -> DeviceIdentity:
        """What a locked profile is matched on."""
        return DeviceIdentity(self.name, self.memory_bytes)


@dataclass(frozen=True, slots=True)
class Memory:
    """What NVML says of a GPU's memory, now."""

    total_bytes: int
    free_bytes: int
    used_bytes: int
    reserved_bytes: int | None
    """What driver and firmware keep for themselves; None where NVML counts it as used."""


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that has a context on a GPU."""

    pid: int
    """The driver's: in a container it may be one of another namespace."""
    used_bytes: int | None
    """None where the driver does not tell, as in some containers."""
    name: str | None
    """None where the process cannot be seen from here."""


# nvmlComputeMode_t; exclusive thread is what exclusive process was called once.
_COMPUTE_MODES = {0: "default", 1: "exclusive process", 2: "prohibited", 3: "exclusive process"}
# Where Linux has the first pid namespace: PROC_PID_INIT_INO.
_FIRST_NAMESPACE = "pid:[4026531836]"


def visible_gpus(root: Path = Path("/")) -> list[Gpu]:
    """Return the GPUs that a CUDA program started here would see and could use, in the order of their PCI bus ids.

    CUDA_VISIBLE_DEVICES selects and orders. Instances of a GPU in MIG mode stand in its place: see harness.visible.
    GPUs that cannot be profiled (compute mode prohibited, no memory of their own) are left out while others are
    seen. `root` is where Linux's files are.

    Raises HarnessError when no GPU can be used, with NVML's reason or the machine's, and where NVML cannot tell which
    GPU an index means. MachineError when a GPU is lost.
    """
    reason = unsupported.wsl(root)
    if reason is not None:
        raise HarnessError(f"no GPU can be used here: {reason}")
    with session("no GPU can be used here") as nvml:
        unusable: dict[str, str] = {}
        seen = seen_by_cuda(_gpus(nvml, unusable), os.environ)
    usable = [gpu for gpu in seen if gpu.uuid not in unusable]
    if seen and not usable:
        raise HarnessError(f"no GPU can be used here: {unusable[seen[0].uuid]}")
    return usable


def memory(uuid: str) -> Memory:
    """Return the memory of a GPU or MIG instance as it is now.

    Raises HarnessError where the GPU has none of its own, or with NVML's reason; MachineError when it is lost.
    """
    with session(f"the memory of {uuid} cannot be read") as nvml:
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        found = _memory(nvml, handle)
        if found is None:
            raise HarnessError(unsupported.why_shared(nvml.nvmlDeviceGetName(handle)))
        return found


def processes(uuid: str, proc: Path = Path("/proc")) -> list[GpuProcess]:
    """Return who has a context on a GPU or MIG instance, this process's own included, by process id.

    In containers often nobody, or ids of the host: judge foreign use by memory. Raises HarnessError with NVML's
    reason, but for lack of permission; MachineError when the GPU is lost.
    """
    with session(f"the processes on {uuid} cannot be read") as nvml:
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        used: dict[int, int | None] = {}
        for kind in ("Compute", "Graphics"):
            for process in _running(nvml, kind, handle):
                # One that computes and draws is in both lists, with the same figure.
                used[process.pid] = used.get(process.pid) or process.usedGpuMemory
        return [GpuProcess(pid, used[pid], _name(nvml, pid, proc)) for pid in sorted(used)]


def _gpus(nvml: Any, unusable: dict[str, str]) -> list[Gpu]:
    """Return all GPUs by PCI bus id, instances in the place of theirs; say in `unusable`, by UUID, why some are not."""
    count = nvml.nvmlDeviceGetCount()
    # No permission for one that a job scheduler keeps from this user: CUDA does not see it either.
    handles = [(index, answer(nvml, nvml.nvmlDeviceGetHandleByIndex, index)) for index in range(count)]
    allowed = [(index, handle) for index, handle in handles if handle is not None]
    if handles and not allowed:
        nvml.nvmlDeviceGetHandleByIndex(0)  # fails, with the reason
    driver = nvml.nvmlSystemGetDriverVersion()
    found = [gpu for index, handle in allowed for gpu in _in_place_of(nvml, handle, index, driver, unusable)]
    return sorted(found, key=lambda gpu: gpu.pci_bus_id)


def _in_place_of(nvml: Any, handle: Any, index: int, driver: str, unusable: dict[str, str]) -> list[Gpu]:
    """Return the GPU itself, or its instances in MIG mode."""
    bus_id = nvml.nvmlDeviceGetPciInfo(handle).busId
    place = {
        "driver": driver,
        "pci_bus_id": bus_id.decode() if isinstance(bus_id, bytes) else bus_id,
        "index": index,
        "compute_mode": _COMPUTE_MODES[answer(nvml, nvml.nvmlDeviceGetComputeMode, handle) or 0],
    }
    mode = answer(nvml, nvml.nvmlDeviceGetMigMode, handle)
    if mode is None or not mode[0]:
        return [_gpu(nvml, handle, unusable, **place)]
    place |= {"mig": True, "parent_uuid": nvml.nvmlDeviceGetUUID(handle)}
    instances = []
    for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        instance = answer(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, number)
        if instance is not None:
            ids = (nvml.nvmlDeviceGetGpuInstanceId(instance), nvml.nvmlDeviceGetComputeInstanceId(instance))
            instances.append(_gpu(nvml, instance, unusable, instance=ids, **place))
    return instances


def _gpu(nvml: Any, handle: Any, unusable: dict[str, str], **place: Any) -> Gpu:
    name, uuid, found = nvml.nvmlDeviceGetName(handle), nvml.nvmlDeviceGetUUID(handle), _memory(nvml, handle)
    shared = unsupported.why_shared(name) if found is None else unsupported.shared_memory(name)
    if shared is not None:
        unusable[uuid] = shared
    elif place["compute_mode"] == "prohibited":
        unusable[uuid] = (
            f"the compute mode of {name} ({uuid}) is prohibited: allow it with `nvidia-smi -i {uuid} -c 0` as root"
        )
    return Gpu(name=name, uuid=uuid, memory_bytes=found.total_bytes if found else 0, **place)


def _memory(nvml: Any, handle: Any) -> Memory | None:
    """Return what NVML says of the memory; None of a GPU that shares the host's."""
    now = answer(nvml, nvml.nvmlDeviceGetMemoryInfo, handle, nvml.nvmlMemory_v2)
    if now is not None:
        return Memory(now.total, now.free, now.used, now.reserved)
    try:
        now = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError_NotSupported:
        return None
    return Memory(now.total, now.free, now.used, None)


def _running(nvml: Any, kind: str, handle: Any) -> Iterator[Any]:
    # v3 and none before: the drivers without it, before R510, tell of no instances.
    call = getattr(nvml, f"nvmlDeviceGet{kind}RunningProcesses_v3")
    yield from answer(nvml, call, handle) or ()


def _name(nvml: Any, pid: int, proc: Path) -> str | None:
    """Return the name of a process; None in a pid namespace of its own, where the driver's ids mean others."""
    try:
        if str((proc / "self/ns/pid").readlink()) != _FIRST_NAMESPACE:
            return None
        return (proc / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        name: str | None = answer(nvml, nvml.nvmlSystemGetProcessName, pid)
        return name
