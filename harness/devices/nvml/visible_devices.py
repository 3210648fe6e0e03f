"""Finds the GPUs that a CUDA program sees, by CUDA_VISIBLE_DEVICES, CUDA_DEVICE_ORDER and MIG.

The rules are NVIDIA's. CUDA C++ programming guide, "CUDA environment variables": an entry is an
index, or the unambiguous beginning of a UUID. CUDA ignores the list from the first entry on that
names no GPU. When an entry is given twice, CUDA sees no GPU.

NVIDIA Multi-Instance GPU user guide, "CUDA Device Enumeration": with drivers before R570, CUDA
enumerates a single compute instance, and then no GPU without MIG. Since R570 it enumerates one
compute instance per GPU instance, and the GPUs without MIG as well.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.devices.nvml.gpu import Gpu

_VARIABLE, _ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"
# The first driver that enumerates several MIG instances.
_SEVERAL_INSTANCES = 570


def seen_by_cuda(gpus: Sequence[Gpu], environment: Mapping[str, str]) -> list[Gpu]:
    """Return the GPUs that CUDA sees, in its order.

    gpus: all of the machine, in PCI order, with MIG instances in the place of their GPU.

    Raises HarnessError when NVML cannot determine which GPU an entry of the variable means.
    """
    value = environment.get(_VARIABLE)
    return _enumerated(gpus if value is None else _selected(value, gpus, environment.get(_ORDER)))


def _enumerated(gpus: Sequence[Gpu]) -> list[Gpu]:
    """Return the GPUs that CUDA enumerates, by the rules for MIG in the module's docstring."""
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
    """Return the GPUs and instances whose UUID begins with `entry`, or whose older name it is."""
    begins = entry.lower()
    if any(
        gpu.parent_uuid is not None and gpu.parent_uuid.lower().startswith(begins) for gpu in gpus
    ):
        raise HarnessError(
            f"{_VARIABLE} names {entry}, which is in MIG mode: name its instances instead "
            "(`nvidia-smi -L`)"
        )
    return [
        gpu for gpu in gpus if gpu.uuid.lower().startswith(begins) or _older_name(gpu) == begins
    ]


def _older_name(gpu: Gpu) -> str | None:
    """Return the name that drivers before R470 give an instance; None for a whole GPU.

    It is MIG-<UUID of the GPU>/<GPU instance>/<compute instance>, in lower case.
    """
    return (
        f"mig-{gpu.parent_uuid}/{gpu.instance[0]}/{gpu.instance[1]}".lower()
        if gpu.instance
        else None
    )


def _require_order(gpus: Sequence[Gpu], order: str | None) -> None:
    """Raise HarnessError when an index may mean more than one GPU.

    By default CUDA counts the fastest GPU first, and NVML does not know which one that is. GPUs of
    one model are equally fast, and a measurement is the same on each of them.
    """
    if len(gpus) > 1 and any(gpu.mig for gpu in gpus):
        raise HarnessError(
            f"{_VARIABLE} gives an index where a GPU is in MIG mode, and NVIDIA does not say what "
            "that means: use UUIDs (`nvidia-smi -L`)"
        )
    if order != "PCI_BUS_ID" and not all(gpu.identity.matches(gpus[0].identity) for gpu in gpus):
        models = ", ".join(dict.fromkeys(gpu.name for gpu in gpus))
        raise HarnessError(
            f"{_VARIABLE} gives an index, and the GPUs differ ({models}): unless {_ORDER} says "
            "otherwise, CUDA counts the fastest first, and which one that is cannot be known here. "
            f"Set {_ORDER}=PCI_BUS_ID, or use UUIDs (`nvidia-smi -L`)"
        )
