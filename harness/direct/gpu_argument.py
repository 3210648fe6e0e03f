"""Reads the argument `gpu`: a label, an index, an entry of a matrix, or nothing."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.devices.nvml.gpus import visible_gpus
from harness.errors import HarnessError, MachineError
from harness.matrix.without_file import as_label
from harness.predict.gpus import GPUS, by_label, by_name, is_instance
from harness.units import parse_size

if TYPE_CHECKING:
    from harness.devices.nvml.gpu import Gpu
    from harness.predict.gpus import GpuFacts

GpuArgument = str | int | Mapping[str, Any] | None
"""`h100`, `h100-as-24GiB`, `cpu-2GiB`, `cuda:0`, `0`, an entry of a matrix, or this machine's."""

_log = logging.getLogger("harness")

_CPU = re.compile(r"cpu(?:-(.+))?")
_INDEX = re.compile(r"(?:cuda(?::(\d+))?|(\d+))")
_EMULATED = re.compile(r"(.+)-as-(.+)")
_CPU_REMEDY = 'gpu="cpu-1GiB" trains on the CPU, with 1 GiB for the training'
_FORMS = (
    'a label such as "h100", "h100-as-24GiB" or "cpu-1GiB", an index such as 0 or "cuda:0", or a '
    "mapping as below `gpus` in a matrix"
)


@dataclass(frozen=True)
class AskedGpu:
    """The device that was asked for."""

    label: str
    entry: Mapping[str, Any]
    """As below `gpus` in a matrix."""
    uuid: str | None = None
    """That of the only GPU that is meant; None: any that fits the entry."""


def asked_gpu(gpu: GpuArgument) -> AskedGpu:
    """Return the device that an argument means; nothing of it need be here, but for an index.

    Raises HarnessError for what is none, and where this machine's own GPU is asked for and it has
    none.
    """
    if isinstance(gpu, Mapping):
        name = gpu.get("name") or f"cpu-{gpu.get('budget', '')}"
        return AskedGpu(as_label(str(name)), dict(gpu))
    if gpu is None:
        return _first()
    if isinstance(gpu, bool) or not isinstance(gpu, str | int):
        raise HarnessError(f"gpu={gpu!r:.60} is not allowed; {_FORMS}")
    text = str(gpu).strip()
    if found := _INDEX.fullmatch(text):
        return _numbered(int(found[1] or found[2] or 0), text)
    if found := _CPU.fullmatch(text):
        if found[1] is None:
            raise HarnessError(f"gpu={text!r}: the CPU needs a budget; {_CPU_REMEDY}")
        return AskedGpu(as_label(text), {"accelerator": "cpu", "budget": _size(text, found[1])})
    if found := _EMULATED.fullmatch(text):
        budget = _size(text, found[2])
        return AskedGpu(as_label(text), {**_product(found[1]), "budget": budget})
    return AskedGpu(as_label(text), _product(text))


def facts_of(asked: AskedGpu) -> GpuFacts:
    """Return the facts that a prediction needs of a GPU.

    Raises HarnessError for the CPU, and for a GPU whose memory is not known.
    """
    name, memory = asked.entry.get("name"), asked.entry.get("memory")
    if name is None:
        raise HarnessError(
            f"gpu={asked.label!r}: a training on the CPU is measured, not predicted: "
            'harness.tune does it; an estimate is for a GPU, such as gpu="h100"'
        )
    return by_name(str(name), None if memory is None else _size("memory", memory))


def _here() -> list[Gpu]:
    """Return the GPUs of this machine. Raises HarnessError, with the reason, where it has none."""
    try:
        gpus = visible_gpus()
    except MachineError:
        raise
    except HarnessError as error:
        raise HarnessError(f"{error}. {_CPU_REMEDY}") from error
    if not gpus:
        raise HarnessError(
            "this machine shows no GPU (CUDA_VISIBLE_DEVICES, nvidia-smi -L). " + _CPU_REMEDY
        )
    return gpus


def _first() -> AskedGpu:
    """Return this machine's GPU; of several that are alike, the first free one is taken later."""
    first, *others = _here()
    if any(not one.identity.matches(first.identity) for one in others):
        names = ", ".join(dict.fromkeys(one.name for one in (first, *others)))
        _log.warning(
            "this machine has different GPUs (%s): taking the first, %s; gpu= names another one",
            names,
            first.name,
        )
    return AskedGpu(_label_of(first), _entry_of(first))


def _numbered(number: int, text: str) -> AskedGpu:
    gpus = _here()
    if number >= len(gpus):
        listed = ", ".join(f"{place}: {one.name}" for place, one in enumerate(gpus))
        raise HarnessError(f"gpu={text}: there is no such GPU here; there are {listed}")
    gpu = gpus[number]
    return AskedGpu(_label_of(gpu), _entry_of(gpu), gpu.uuid)


def _entry_of(gpu: Gpu) -> dict[str, Any]:
    """Return a GPU of this machine as an entry; an instance is in no table without its memory."""
    memory = {"memory": gpu.memory_bytes} if is_instance(gpu.name) else {}
    return {"name": gpu.name, **memory}


def _label_of(gpu: Gpu) -> str:
    known = next((one.label for one in GPUS if one.name == gpu.name), gpu.name)
    return as_label(known.lower())


def _product(label: str) -> dict[str, Any]:
    """Return the product that people call so; of several of one name, that with this memory."""
    try:
        facts = by_label(label)
    except HarnessError as error:
        if any(one.name == label for one in _visible()):
            return {"name": label}
        raise HarnessError(
            f'gpu: {error}. Another GPU is a mapping: gpu={{"name": "NVIDIA …", "memory": "24GiB"}}'
        ) from error
    several = sum(one.name == facts.name for one in GPUS) > 1
    return {"name": facts.name, **({"memory": facts.nvml_bytes} if several else {})}


def _visible() -> list[Gpu]:
    try:
        return visible_gpus()
    except HarnessError:
        return []


def _size(where: str, value: object) -> int:
    try:
        return parse_size(value)
    except ValueError as error:
        raise HarnessError(f"gpu={where!r}: {error}") from None
