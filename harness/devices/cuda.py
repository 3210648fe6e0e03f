"""A CUDA GPU: found and identified through NVML, bounded through torch's caching allocator.

The limit is `target_memory_fraction` of the smaller of the budget and the total as cudaMemGetInfo gives it,
enforced on *reserved* bytes, so that the batch does not depend on the size of the CUDA context.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from harness import nvml
from harness.devices.base import NoSuchDeviceError
from harness.errors import HarnessError
from harness.measurement import DeviceIdentity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.settings import GpuSettings

# NVML's totals of one product differ with driver and ECC by up to this share.
_MEMORY_TOLERANCE = 0.03
# What configures torch's caching allocator.
_ALLOCATOR_VARIABLES = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "PYTORCH_NO_CUDA_MEMORY_CACHING")


class CudaDevice:
    """The parent side of one GPU."""

    def __init__(self, gpu: nvml.Gpu, budget_bytes: int | None, fraction: float) -> None:
        self.gpu = gpu
        self.emulated = budget_bytes is not None
        self.identity = DeviceIdentity(gpu.name, budget_bytes or gpu.memory_bytes)
        self.environment: Mapping[str, str] = {
            "CUDA_VISIBLE_DEVICES": gpu.uuid,
            # is_available() then asks NVML, and does not initialise CUDA in the zygote.
            "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        }
        self.bound: dict[str, Any] = {
            "accelerator": "cuda",
            "budget_bytes": budget_bytes,
            "fraction": fraction,
        }
        self.memory_settings: dict[str, Any] = {
            name: os.environ[name] for name in _ALLOCATOR_VARIABLES if name in os.environ
        }
        self.versions: Mapping[str, str] = {"driver": gpu.driver}

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Take the lock of this physical GPU: other workers and runs wait for their turn."""
        with FileLock(Path(gettempdir()) / f"gpu-profile-{self.gpu.uuid}.lock"):
            yield


class CudaBound:
    """The child side: torch's own per-process fraction, and the allocator's own peak."""

    trainer_arguments: Mapping[str, Any] = {"accelerator": "cuda", "devices": 1}

    def __init__(self, budget_bytes: int | None, fraction: float) -> None:
        self.budget_bytes = budget_bytes
        self.fraction = fraction
        self.limit_bytes = 0
        self._total = 0

    def start(self) -> None:
        """Start CUDA and set the fraction, before anything is allocated."""
        import torch  # noqa: PLC0415 - the pytest process imports this module, and must never import torch

        _, total = torch.cuda.mem_get_info(0)
        self.limit_bytes = int(self.fraction * min(self.budget_bytes or total, total))
        self._total = total
        self.rescale(1.0)
        torch.cuda.reset_peak_memory_stats(0)

    def engage(self, module: Any) -> None:
        """Do nothing: the limit holds since the start."""

    def rescale(self, share: float) -> None:
        """Allow `share` times the limit, of the memory there is."""
        import torch  # noqa: PLC0415

        torch.cuda.set_per_process_memory_fraction(min(1.0, share * self.limit_bytes / self._total), 0)

    def peak_bytes(self) -> int:
        """Return the allocator's peak of reserved bytes, which is what the limit is on."""
        import torch  # noqa: PLC0415

        return int(torch.cuda.max_memory_reserved(0)) if self._total else 0

    def lift(self) -> None:
        """Allow all of the memory."""
        import torch  # noqa: PLC0415

        if self._total:
            torch.cuda.set_per_process_memory_fraction(1.0, 0)


def find_cuda_device(gpu: GpuSettings, target_memory_fraction: float) -> CudaDevice:
    """Find the visible GPU whose NVML product name, and memory where given, match.

    Raises NoSuchDeviceError naming what is here instead.
    """
    assert gpu.name is not None, "the matrix requires a name for a GPU"
    wanted = f"needs {gpu.name}" + (f" with {gpu.memory / 1024**3:.1f} GiB" if gpu.memory else "")
    try:
        visible = nvml.visible_gpus()
    except HarnessError as error:
        raise NoSuchDeviceError(f"{wanted}: {error}") from error
    for found in visible:
        fits = gpu.memory is None or abs(found.memory_bytes - gpu.memory) <= _MEMORY_TOLERANCE * gpu.memory
        if fits and fnmatchcase(found.name, gpu.name):
            return CudaDevice(found, gpu.budget, target_memory_fraction)
    here = ", ".join(f"{found.name} ({found.memory_bytes / 1024**3:.1f} GiB)" for found in visible)
    raise NoSuchDeviceError(f"{wanted}: this machine has {here or 'no visible GPU'}")
