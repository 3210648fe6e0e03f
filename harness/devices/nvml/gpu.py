"""Describes a GPU of this machine, its memory and its processes, in NVML's terms."""

from __future__ import annotations

from dataclasses import dataclass

from harness.device_identity import SIMULATED, DeviceIdentity
from harness.simulated.mark import is_simulated


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as CUDA sees it: a whole GPU, or an instance of a GPU in MIG mode."""

    name: str
    """The product's name. An instance's holds its profile: NVIDIA A100-SXM4-40GB MIG 1g.5gb."""
    memory_bytes: int
    """NVML's total of the GPU or of the instance."""
    uuid: str
    """The id that CUDA_VISIBLE_DEVICES takes: GPU-… or MIG-…."""
    driver: str
    """The driver's version."""
    pci_bus_id: str = ""
    """The physical GPU's place, as domain:bus:device.function."""
    mig: bool = False
    """Whether this is an instance of a GPU in MIG mode."""
    parent_uuid: str | None = None
    """The physical GPU of an instance."""
    instance: tuple[int, int] | None = None
    """NVML's ids of the GPU instance and of the compute instance in it."""

    @property
    def identity(self) -> DeviceIdentity:
        """The part that a locked profile is matched on."""
        mark = SIMULATED if is_simulated() else ""
        return DeviceIdentity(mark + self.name, self.memory_bytes)


@dataclass(frozen=True, slots=True)
class Memory:
    """NVML's account of a GPU's memory, at one moment."""

    total_bytes: int
    free_bytes: int
    used_bytes: int
    reserved_bytes: int | None
    """The part that driver and firmware keep; None where NVML counts it as used."""


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that has a context on a GPU."""

    pid: int
    """The driver's id: in a container it may be one of another namespace."""
    used_bytes: int | None
    """None where the driver does not give it, as in some containers."""
    name: str | None
    """None where the process cannot be seen from here."""
