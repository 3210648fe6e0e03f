"""Which GPUs a CUDA program sees: CUDA_VISIBLE_DEVICES, CUDA_DEVICE_ORDER and MIG, by NVIDIA's rules.

CUDA C++ programming guide, "CUDA environment variables": entries are indexes, or unambiguous beginnings of UUIDs;
what follows an entry that names no GPU is not seen. An entry given twice leaves none.

NVIDIA Multi-Instance GPU user guide, "CUDA Device Enumeration": the drivers before R570 enumerate a single compute
instance, and then no GPU without MIG; those since enumerate one compute instance per GPU instance, and GPUs without
MIG as well.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.lockfile import same_device

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.nvml import Gpu

_VARIABLE, _ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"
# The first driver that enumerates several MIG instances.
_SEVERAL_INSTANCES = 570


def seen_by_cuda(gpus: Sequence[Gpu], environment: Mapping[str, str]) -> list[Gpu]:
    """Return what CUDA sees of `gpus`, which are in PCI order, with MIG instances in the place of their GPU.

    Raises HarnessError where NVML cannot tell which GPU an entry of the variable means.
    """
    value = environment.get(_VARIABLE)
    return _enumerated(gpus if value is None else _selected(value, gpus, environment.get(_ORDER)))


def _enumerated(gpus: Sequence[Gpu]) -> list[Gpu]:
    """Leave out what MIG keeps from being enumerated, as the module's docstring has it."""
    instances = [gpu for gpu in gpus if gpu.mig]
    if not instances:
        return list(gpus)
    if int(instances[0].driver.partition(".")[0]) < _SEVERAL_INSTANCES:
        return instances[:1]
    first: dict[object, Gpu] = {}
    for gpu in gpus:
        first.setdefault((gpu.parent_uuid, gpu.instance[0]) if gpu.instance else gpu.uuid, gpu)
    return list(first.values())


def _selected(value: str, gpus: Sequence[Gpu], order: str | None) -> list[Gpu]:
    chosen: list[Gpu] = []
    for entry in (part.strip() for part in value.split(",")):
        if entry.startswith(("GPU-", "MIG-")):
            fits = _by_uuid(entry, gpus)
        else:
            number = re.match(r"\+?\d+", entry)
            fits = list(gpus[int(number[0]) :][:1]) if number else []
            if fits:
                _require_order(gpus, order)
        if len(fits) != 1:
            break
        if fits[0] in chosen:
            return []
        chosen += fits
    return chosen


def _by_uuid(entry: str, gpus: Sequence[Gpu]) -> list[Gpu]:
    """Return the GPUs and instances that a beginning of a UUID fits, or an instance's older name."""
    begins = entry.lower()
    if any(gpu.parent_uuid is not None and gpu.parent_uuid.lower().startswith(begins) for gpu in gpus):
        raise HarnessError(
            f"{_VARIABLE} names {entry}, which is in MIG mode: name its instances instead (`nvidia-smi -L`)"
        )
    return [gpu for gpu in gpus if gpu.uuid.lower().startswith(begins) or _older_name(gpu) == begins]


def _older_name(gpu: Gpu) -> str | None:
    """Return MIG-<UUID of the GPU>/<GPU instance>/<compute instance>: what drivers before R470 name an instance."""
    return f"mig-{gpu.parent_uuid}/{gpu.instance[0]}/{gpu.instance[1]}".lower() if gpu.instance else None


def _require_order(gpus: Sequence[Gpu], order: str | None) -> None:
    """Refuse an index that may mean one of several.

    Unless told otherwise CUDA counts the fastest GPU first, which NVML does not know. GPUs of one model are alike
    to it, and any order of theirs measures the same.
    """
    if len(gpus) > 1 and any(gpu.mig for gpu in gpus):
        raise HarnessError(
            f"{_VARIABLE} gives an index where a GPU is in MIG mode, and NVIDIA does not say what that means: "
            "use UUIDs (`nvidia-smi -L`)"
        )
    if order != "PCI_BUS_ID" and not all(same_device(gpu.identity, gpus[0].identity) for gpu in gpus):
        models = ", ".join(dict.fromkeys(gpu.name for gpu in gpus))
        raise HarnessError(
            f"{_VARIABLE} gives an index, and the GPUs differ ({models}): unless {_ORDER} says otherwise, CUDA counts "
            f"the fastest first, which cannot be known here. Set {_ORDER}=PCI_BUS_ID, or use UUIDs (`nvidia-smi -L`)"
        )
