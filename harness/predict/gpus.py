"""Finds the GPU that people or a matrix mean, and makes a simulated one of it. Pure.

The table itself is in `gpu_table.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from harness.errors import HarnessError
from harness.predict.gpu_table import FROM_THE_MATRIX, GPUS, MIB, GpuFacts
from harness.simulated.world import SimulatedGpu

__all__ = [
    "GPUS",
    "MIB",
    "GpuFacts",
    "assumed",
    "by_label",
    "by_name",
    "called",
    "is_instance",
    "simulated",
]

# How far a published total may be from the one that a matrix gives, as for GPUs that are there.
_TOLERANCE = 0.03
# Of a GPU that is not in the table: those of an A100.
_ASSUMED_CAPABILITY, _ASSUMED_SMS = (8, 0), 108
# NVML names an instance by its GPU and its profile: NVIDIA A100-SXM4-40GB MIG 1g.5gb.
_INSTANCE = " MIG "
_INSTANCE_OF = "the total that NVML gives the instance, and its GPU's row"
# SMs of one compute slice, by the compute capability's major number (NVIDIA's MIG user guide); a
# whole GPU has seven slices.
_SMS_OF_A_SLICE, _SLICES = {8: 14, 9: 16}, 7
# How far a memory in a name, such as 24GB, may be from NVML's total: an L4 of 24 GB has 22.5 GiB.
_NOMINAL_TOLERANCE = 0.08
# Words that tell no GPU from another one.
_NOISE = frozenset({"nvidia", "geforce", "tesla", "gpu", "generation", "edition", "blackwell"})
_SERIES = ("rtx", "gtx")
_SIZE = re.compile(r"^(\d+)(?:g|gb|gib)$")
_BLANK = re.compile(r"(?<=\d) (?=gi?b\b)")
_SXM_WORD = re.compile(r"^sxm\d$")
# What people write without a blank: rtx3090, 3080ti, h100sxm5.
_GLUED = re.compile(r"(?<=rtx|gtx)(?=[a-z]?\d)|(?<=\d)(?=(?:ti|super|sxm\d?|pcie|nvl|ada)\b)")
# Those on an SXM module whose product name does not say so.
_SXM = frozenset({"H100", "H200", "H20", "H800", "B200", "B300"})
_MEANT = 3


@dataclass(frozen=True)
class _Words:
    """A GPU's name as people write it, without vendor, case, blanks and dashes."""

    words: tuple[str, ...]
    """Those that are neither a memory nor a series: `3090`, `ti`."""
    whole: str
    """All of them in one: `rtx3090ti`, `a10080gb`."""
    memory_gb: int | None

    @property
    def joined(self) -> str:
        """The words in one."""
        return "".join(self.words)

    @classmethod
    def of(cls, name: str) -> _Words:
        """Take a name apart."""
        spaced = _BLANK.sub("", re.sub(r"[^a-z0-9]+", " ", name.lower()))
        spaced = _GLUED.sub(" ", spaced)
        # SXM4 and SXM are the same to whoever writes an A100's name; 80G and 80GB are, too.
        words = [
            _SIZE.sub(r"\1gb", _SXM_WORD.sub("sxm", word))
            for word in spaced.split()
            if word not in _NOISE
        ]
        sizes = [int(found[1]) for word in words if (found := _SIZE.fullmatch(word))]
        plain = [word for word in words if not _SIZE.fullmatch(word)]
        return cls(
            tuple(word for word in plain if word not in _SERIES),
            "".join(words),
            sizes[0] if sizes else None,
        )


def by_label(label: str) -> GpuFacts:
    """Return the one GPU that people call so.

    Raises HarnessError where several GPUs, or none, are called so; it names those that may be
    meant.
    """
    found = called(label)
    if not found:
        raise _unknown(label)
    if len(found) > 1:
        labels = ", ".join(gpu.label for gpu in found)
        raise HarnessError(f"{label} is the name of several GPUs: give one of {labels}")
    return found[0]


def called(label: str) -> list[GpuFacts]:
    """Return the GPUs that people call so: `RTX 3090`, `rtx3090`, `3090`, `A100 80GB`, `H100 SXM`.

    A label or a whole product name goes before a part of one, so `3090` is no RTX 3090 Ti.
    """
    wanted = _Words.of(label)
    sized = [gpu for gpu in GPUS if _has_memory(gpu, wanted.memory_gb)]
    parts = [gpu for gpu in sized if wanted.words and {*wanted.words} <= _words_of(gpu)]
    exact = (
        [gpu for gpu in GPUS if wanted.whole == _Words.of(gpu.label).whole],
        [gpu for gpu in GPUS if wanted.whole == _Words.of(gpu.name).whole],
        [gpu for gpu in sized if wanted.joined == _Words.of(gpu.label).joined],
    )
    found = next((gpus for gpus in exact if gpus), parts)
    # Of several, those belong to the choice that have one word more: an A100 on a PCIe card.
    return found if len(found) == 1 else parts or found


def simulated(
    gpu: GpuFacts, total_bytes: int | None = None, workspace_bytes: int | None = None
) -> SimulatedGpu:
    """Return the simulated GPU of a product.

    total_bytes: the memory that CUDA and NVML see; None: the product's.
    workspace_bytes: what each convolution asks for; None: what cuDNN chooses for it.
    """
    return SimulatedGpu(
        gpu.name,
        gpu.total_bytes if total_bytes is None else total_bytes,
        gpu.capability,
        sm_count=gpu.sm_count,
        nvml_bytes=gpu.nvml_bytes if total_bytes is None else None,
        workspace_bytes=workspace_bytes,
    )


def assumed(name: str, memory_bytes: int) -> GpuFacts:
    """Return a GPU that is not in the table: an Ampere with this memory, as NVML gives it."""
    return GpuFacts(
        name, name, memory_bytes // MIB, None, _ASSUMED_CAPABILITY, _ASSUMED_SMS, FROM_THE_MATRIX
    )


def is_instance(name: str) -> bool:
    """Return whether a product name is that of an instance of a GPU in MIG mode."""
    return _INSTANCE in name


def by_name(pattern: str, memory_bytes: int | None = None) -> GpuFacts:
    """Return the GPU that a matrix means by a glob over product names, and perhaps a total memory.

    Of several it is the one with the least memory, which a batch has to fit. An instance in MIG
    mode has the memory that is given, and its GPU's compute capability. A GPU that is not in the
    table is assumed to be an Ampere with the memory that the matrix gives. Raises HarnessError when
    neither helps.
    """
    if memory_bytes is not None and is_instance(pattern):
        product = pattern.partition(_INSTANCE)[0]
        whole = {(gpu.capability, gpu.sm_count) for gpu in GPUS if fnmatchcase(gpu.name, product)}
        if len(whole) == 1:
            capability, sms = whole.pop()
            sms = _sms_of_instance(pattern, capability, sms)
            return GpuFacts(
                pattern, pattern, memory_bytes // MIB, None, capability, sms, _INSTANCE_OF
            )
    fitting = [
        gpu
        for gpu in GPUS
        if fnmatchcase(gpu.name, pattern)
        and (
            memory_bytes is None or abs(gpu.nvml_bytes - memory_bytes) <= _TOLERANCE * memory_bytes
        )
    ]
    if (
        not fitting
        and memory_bytes is not None
        and not any(fnmatchcase(gpu.name, pattern) for gpu in GPUS)
    ):
        return assumed(pattern, memory_bytes)
    if not fitting:
        called_so, part = called(pattern), pattern.lower()
        meant = [gpu.name for gpu in GPUS if gpu in called_so or part in gpu.name.lower()]
        known = ", ".join(gpu.name for gpu in GPUS)
        raise HarnessError(
            f"no prediction for {pattern}: its memory is not known. "
            + (f"Did you mean {' or '.join(meant)}? " if meant else f"Known GPUs: {known}. ")
            + "Give any other GPU its `memory` in the matrix"
        )
    return min(fitting, key=lambda gpu: gpu.total_bytes)


def _sms_of_instance(name: str, capability: tuple[int, int], whole: int) -> int:
    """Return the SMs of an instance, by the slices that its profile names: 2 in `2g.20gb`."""
    found = re.search(r" MIG (\d)g\.", name)
    of_a_slice = _SMS_OF_A_SLICE.get(capability[0])
    if found is None or of_a_slice is None or int(found[1]) >= _SLICES:
        return whole
    return int(found[1]) * of_a_slice


def _has_memory(gpu: GpuFacts, memory_gb: int | None) -> bool:
    if memory_gb is None:
        return True
    return abs(gpu.nvml_mib / 1024 - memory_gb) <= _NOMINAL_TOLERANCE * memory_gb


def _words_of(gpu: GpuFacts) -> set[str]:
    """Return the words of a label and a product name, and what people add to them."""
    words = {*_Words.of(gpu.label).words, *_Words.of(gpu.name).words}
    return words | {"sxm"} if gpu.label in _SXM else words


def _unknown(label: str) -> HarnessError:
    labels = {_Words.of(gpu.label).whole: gpu.label for gpu in GPUS}
    near = [labels[key] for key in get_close_matches(_Words.of(label).whole, labels, n=_MEANT)]
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    known = ", ".join(gpu.label for gpu in GPUS)
    return HarnessError(f"unknown GPU {label}.{meant} Known: {known}")
