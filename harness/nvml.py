"""The GPUs of this machine, as NVML knows them and CUDA_VISIBLE_DEVICES shows them. Starts no CUDA."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.measurement import DeviceIdentity

if TYPE_CHECKING:
    from collections.abc import Sequence

_VARIABLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One physical GPU."""

    name: str
    """The product's name."""
    memory_bytes: int
    """NVML's total."""
    uuid: str
    driver: str
    """The driver's version."""

    @property
    def identity(self) -> DeviceIdentity:
        """What a locked profile is matched on."""
        return DeviceIdentity(self.name, self.memory_bytes)


def visible_gpus() -> list[Gpu]:
    """Return the GPUs that a CUDA program started here would see, in PCI order or in that of the variable.

    Raises HarnessError with NVML's reason when there is no driver, and for MIG instances, whose memory is
    not that of their GPU.
    """
    gpus = _all_gpus()
    value = os.environ.get(_VARIABLE)
    return gpus if value is None else [gpus[index] for index in _selected(value, [gpu.uuid for gpu in gpus])]


def _all_gpus() -> list[Gpu]:
    try:
        import pynvml  # noqa: PLC0415 - 14 ms that only those pay who need to know the GPUs
    except ImportError as error:
        raise HarnessError(f"nvidia-ml-py cannot be imported ({error}): install it to use GPUs") from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise HarnessError(f"no GPU can be used here: NVML says {error}") from error
    try:
        driver = pynvml.nvmlSystemGetDriverVersion()
        return [_gpu(pynvml, index, driver) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        raise HarnessError(f"the GPUs cannot be read: NVML says {error}; see what nvidia-smi says") from error
    finally:
        pynvml.nvmlShutdown()


def _gpu(pynvml: Any, index: int, driver: str) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    return Gpu(
        name=pynvml.nvmlDeviceGetName(handle),
        memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        driver=driver,
    )


def _selected(value: str, uuids: Sequence[str]) -> list[int]:
    """Return the indexes that CUDA_VISIBLE_DEVICES selects.

    As the CUDA C++ programming guide has it: indexes, or unambiguous beginnings of UUIDs; what follows an
    entry that names no GPU is not seen; an entry given twice leaves none.
    """
    chosen: list[int] = []
    for entry in (part.strip() for part in value.split(",")):
        if entry.startswith("MIG-"):
            raise HarnessError(f"{_VARIABLE} names the MIG instance {entry}: profiles are made on whole GPUs")
        if entry.startswith("GPU-"):
            fits = [index for index, uuid in enumerate(uuids) if uuid.lower().startswith(entry.lower())]
        else:
            number = re.match(r"\+?\d+", entry)
            fits = [int(number[0])] if number and int(number[0]) < len(uuids) else []
        if len(fits) != 1:
            break
        if fits[0] in chosen:
            return []
        chosen += fits
    return chosen
