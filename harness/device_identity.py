"""The identity of a device, as a locked profile has it: another run finds the device by it."""

from __future__ import annotations

from dataclasses import dataclass

# A driver changes NVML's total of a GPU by less than this share. Products that have the same name
# but another memory differ by more.
_MEMORY_TOLERANCE = 0.01
# No product of NVIDIA's begins so: a profile of a simulated GPU never matches a real one.
SIMULATED = "simulated "


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """The values that identify the device of a locked profile."""

    name: str
    """NVML's product name, or `cpu`; that of a simulated GPU begins with `simulated `."""
    memory_bytes: int
    """NVML's total, the budget of an emulated device, or the budget on the CPU; of each GPU."""
    count: int = 1
    """The number of GPUs, each with one rank of the training; on the CPU, of ranks."""

    @property
    def simulated(self) -> bool:
        """Whether this is a simulated GPU: it counts memory, and computes nothing."""
        return self.name.startswith(SIMULATED)

    @property
    def product(self) -> str:
        """NVML's product name, also of a simulated GPU."""
        return self.name.removeprefix(SIMULATED)

    def matches(self, other: DeviceIdentity) -> bool:
        """Return whether both are the same device: equal names, memory within 1%.

        The number of GPUs is a setting: where it changes, the recipe does.
        """
        larger = max(self.memory_bytes, other.memory_bytes)
        difference = abs(self.memory_bytes - other.memory_bytes)
        return self.name == other.name and difference <= _MEMORY_TOLERANCE * larger
