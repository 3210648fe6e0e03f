"""Says which entries below `gpus` run on this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.devices.host_memory import available_memory
from harness.devices.nvml.gpus import visible_gpus
from harness.errors import HarnessError
from harness.units import format_bytes

if TYPE_CHECKING:
    from harness.devices.nvml.gpu import Gpu

_MIB = 1 << 20
_BUDGETS = (1024, 512, 256, 128, 64)
# A zygote and its probes hold torch beside the budget, and others need memory, too.
_SHARE = 4


@dataclass(frozen=True, slots=True)
class Machine:
    """What runs here."""

    gpus: dict[str, dict[str, str]]
    """Entries below `gpus`, by label."""
    said: str
    """What was found, for people."""

    @property
    def has_gpu(self) -> bool:
        """Whether there is a GPU."""
        return any("name" in entry for entry in self.gpus.values())


def look_at_machine() -> Machine:
    """Return the GPUs that CUDA would see here, or else the CPU with a budget."""
    try:
        gpus = visible_gpus()
        reason = "no visible GPU"
    except HarnessError as error:
        gpus, reason = [], str(error).partition("; ")[0]
    return of_gpus(gpus) if gpus else of_cpu(available_memory()[0], reason)


def of_gpus(gpus: list[Gpu]) -> Machine:
    """Return an entry for each kind of GPU."""
    entries: dict[str, dict[str, str]] = {}
    for gpu in gpus:
        alike = {other.memory_bytes for other in gpus if other.name == gpu.name}
        short = re.sub(r"[^a-z0-9.]+", "-", gpu.name.lower().removeprefix("nvidia")).strip("-")
        entry = {"name": gpu.name}
        if len(alike) > 1:
            size = f"{gpu.memory_bytes // _MIB}MiB"
            entry["memory"], short = size, f"{short}-{size}"
        entries[short or "gpu"] = entry
    return Machine(entries, ", ".join(sorted({gpu.name for gpu in gpus})))


def of_cpu(available: int | None, reason: str) -> Machine:
    """Return the CPU with the largest of some budgets that leaves memory for all else."""
    room = (available if available is not None else _BUDGETS[0] * _MIB * _SHARE) // _SHARE
    budget = next((size for size in _BUDGETS if size * _MIB <= room), _BUDGETS[-1])
    size = f"{budget // 1024}GiB" if budget >= 1024 else f"{budget}MiB"  # noqa: PLR2004 - MiB to GiB
    free = "" if available is None else f" of the {format_bytes(available)} that are free"
    return Machine(
        {f"cpu-{size}": {"accelerator": "cpu", "budget": size}},
        f"the CPU, with a budget of {size}{free} ({reason})",
    )
