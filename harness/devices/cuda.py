"""The parent side of a CUDA GPU: found, watched and waited for through NVML; one case at a time on each.

`harness.devices.cuda_bound` is the other side, in the probe.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from harness import nvml
from harness.devices.base import NoSuchDeviceError
from harness.errors import HarnessError, MachineError
from harness.measurement import DeviceIdentity
from harness.predict.allocator_settings import VARIABLES
from harness.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.settings import GpuSettings

_log = logging.getLogger("harness")

# NVML's totals of one product differ with driver and ECC by up to this share.
_MEMORY_TOLERANCE = 0.03
# What, besides the allocator's settings, changes how much of the GPU a training takes.
_MEMORY_VARIABLES = ("CUBLAS_WORKSPACE_CONFIG",)
_NO_CACHING = "PYTORCH_NO_CUDA_MEMORY_CACHING"
# How often a lock or memory is looked for, and how long the driver may take to give back what a probe held.
_PAUSE, _LONG_PAUSE = 0.05, 1.0
_GIVE_BACK_SECONDS = 20.0
# The driver's own use of memory moves by some MiB.
_JITTER_BYTES = 64 << 20


class CudaDevice:
    """One GPU, or whichever is free of several alike.

    Args:
        gpus: those that fit; all have the name and memory of the first.
        budget_bytes: cap on the memory; None for all of it.
        fraction: share of the memory that training may reserve.
        wait_seconds: how long to wait for memory that others hold.

    """

    can_snapshot = True

    def __init__(
        self, gpus: Sequence[nvml.Gpu], budget_bytes: int | None, fraction: float, wait_seconds: float = 0.0
    ) -> None:
        self.gpus = gpus
        self.gpu = gpus[0]
        self.wait_seconds = wait_seconds
        self.emulated = budget_bytes is not None
        self.identity = DeviceIdentity(self.gpu.name, budget_bytes or self.gpu.memory_bytes)
        self.bound: dict[str, Any] = {
            "accelerator": "cuda",
            "budget_bytes": budget_bytes,
            "fraction": fraction,
        }
        self.versions: Mapping[str, str] = {"driver": self.gpu.driver}
        self.memory_settings = allocator_settings(os.environ)
        # NVML's total is a little more than what CUDA gives as the total: the probe knows better, later.
        self._wanted_bytes = int(fraction * self.identity.memory_bytes)
        self._used_before = 0
        self._watch: nvml.Watch | None = None
        self._slowed: str | None = None
        self._xids: tuple[int, ...] = ()

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment variables that show a process this GPU and no other."""
        return {
            "CUDA_VISIBLE_DEVICES": self.gpu.uuid,
            # Only then does torch's index of a GPU agree with NVML's, which it asks while it reports an OOM.
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            # is_available() then asks NVML, and does not initialise CUDA in the zygote.
            "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
            # Threads of the zygote would be missing in its forks. Not by torch.set_num_threads: autograd's threads, one for
            # each device that torch is built for, then repeat the call at once, and torch ends the process now and then.
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
        }

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Take a GPU for the length of a case, and wait until others leave it enough memory.

        Raises MachineError when they do not, within `wait_seconds`.
        """
        lock = self._lock_one()
        try:
            with nvml.Watch(self.gpu.uuid) as watch:
                self._watch = watch
                self._slowed, self._xids = None, ()
                self._used_before = self._await_room(self.wait_seconds)
                yield
        finally:
            self._watch = None
            lock.release()

    def settle(self) -> None:
        """Wait until the memory of a probe is back, and look after the GPU's health.

        Raises MachineError when others took the memory meanwhile, or when the GPU is in trouble.
        """
        if self._watch is None:
            return
        if trouble := self._watch.trouble():
            raise MachineError(
                f"{self.gpu.name} ({self.gpu.uuid}) is in trouble: {'; '.join(trouble)}. What was measured meanwhile "
                "says nothing; see `nvidia-smi -q` and the kernel's log"
            )
        self._slowed = self._watch.throttled() or self._slowed
        self._xids = self._watch.xids()
        deadline = time.monotonic() + _GIVE_BACK_SECONDS
        while nvml.memory(self.gpu.uuid).used_bytes > self._used_before + _JITTER_BYTES:
            if time.monotonic() > deadline:
                # Not a probe's any more. That others use the GPU is no trouble while they leave enough.
                self._used_before = self._await_room(self.wait_seconds)
                return
            time.sleep(_PAUSE)

    def notes(self) -> tuple[str, ...]:
        """Return what the reader of a measurement should know of the device."""
        notes = []
        if self._slowed is not None:
            notes.append(f"the GPU was slowed down ({self._slowed}): samples per second are too low")
        if self._xids:
            # The machine's own ended the case: these are of what it ran, such as an illegal access.
            told = ", ".join(map(str, dict.fromkeys(self._xids)))
            notes.append(f"the driver reported Xid {told} of what ran on the GPU: see the kernel's log")
        return tuple(notes)

    def _lock_one(self) -> FileLock:
        """Lock the first of the GPUs that no other run and no other worker uses."""
        locks = [
            FileLock(Path(gettempdir()) / f"gpu-profile-{gpu.uuid}.lock", mode=0o666) for gpu in self.gpus
        ]
        told = False
        while True:
            for gpu, lock in zip(self.gpus, locks, strict=True):
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    continue
                except OSError as error:
                    raise MachineError(
                        f"the lock file of {gpu.name}, {lock.lock_file}, cannot be taken ({error}): remove it, or give "
                        "all who profile on this GPU the rights to it"
                    ) from error
                self.gpu = gpu
                return lock
            if not told:
                told = True
                _log.info("%s: waiting for another run to end its case there", self.gpu.name)
            time.sleep(_PAUSE)

    def _await_room(self, seconds: float) -> int:
        """Wait until enough memory is free; return what is used."""
        deadline = time.monotonic() + seconds
        told = False
        while True:
            now = nvml.memory(self.gpu.uuid)
            # What driver and firmware keep is in the total, but never free.
            wanted = min(self._wanted_bytes, now.total_bytes - (now.reserved_bytes or 0))
            if now.free_bytes >= wanted:
                return now.used_bytes
            busy = (
                f"{self.gpu.name} ({self.gpu.uuid}) is busy: {format_bytes(now.free_bytes)} are free, and a probe may "
                f"use {format_bytes(wanted)}; {_who(self.gpu.uuid)}"
            )
            if time.monotonic() >= deadline:
                raise MachineError(
                    f"{busy}. Waited {seconds:.0f} s: end what runs there, or wait longer (--gpu-profile-wait)"
                )
            if not told:
                told = True
                _log.info("%s; waiting up to %.0f s", busy, seconds)
            time.sleep(min(_LONG_PAUSE, max(_PAUSE, deadline - time.monotonic())))


def _who(uuid: str) -> str:
    """Name the processes on a GPU, as far as NVML knows them."""
    users = [
        f"process {user.pid}"
        + (f" ({user.name})" if user.name else "")
        + (f" with {format_bytes(user.used_bytes)}" if user.used_bytes is not None else "")
        for user in nvml.processes(uuid)
        if user.pid != os.getpid()
    ]
    return (
        "there " + ("are " if len(users) > 1 else "is ") + ", ".join(users)
        if users
        else ("NVML names no process: they may run outside of this container")
    )


def allocator_settings(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of torch's caching allocator, and of cuBLAS' workspaces, that the environment makes.

    Raises HarnessError for those under which no limit can be kept, or that contradict each other.
    """
    if environment.get(_NO_CACHING, "0") != "0":
        raise HarnessError(
            f"{_NO_CACHING} is set: without torch's caching allocator nothing bounds a probe's memory; unset it"
        )
    chosen = {name: environment[name] for name in VARIABLES if environment.get(name)}
    if len(set(chosen.values())) > 1:
        both = " and ".join(f"{name}={value}" for name, value in chosen.items())
        raise HarnessError(
            f"{both} are both set and differ, and torch's versions disagree on which counts: unset one"
        )
    return chosen | {name: environment[name] for name in _MEMORY_VARIABLES if environment.get(name)}


def find_cuda_device(
    gpu: GpuSettings, target_memory_fraction: float, wait_seconds: float = 0.0
) -> CudaDevice:
    """Find the visible GPUs whose NVML product name, and memory where given, match.

    Raises NoSuchDeviceError naming what is here instead.
    """
    assert gpu.name is not None, "the matrix requires a name for a GPU"
    wanted = f"needs {gpu.name}" + (f" with {format_bytes(gpu.memory)}" if gpu.memory else "")
    try:
        visible = nvml.visible_gpus()
    except MachineError:
        raise
    except HarnessError as error:
        raise NoSuchDeviceError(f"{wanted}: {error}") from error
    fitting = [
        found
        for found in visible
        if fnmatchcase(found.name, gpu.name)
        and (gpu.memory is None or abs(found.memory_bytes - gpu.memory) <= _MEMORY_TOLERANCE * gpu.memory)
    ]
    if not fitting:
        here = ", ".join(f"{found.name} ({format_bytes(found.memory_bytes)})" for found in visible)
        raise NoSuchDeviceError(f"{wanted}: this machine has {here or 'no visible GPU'}")
    alike = [found for found in fitting if found.identity == fitting[0].identity]
    if gpu.budget is not None and gpu.budget > alike[0].memory_bytes:
        raise NoSuchDeviceError(
            f"needs a GPU with room for a budget of {format_bytes(gpu.budget)}: {alike[0].name} has "
            f"{format_bytes(alike[0].memory_bytes)}"
        )
    return CudaDevice(alike, gpu.budget, target_memory_fraction, wait_seconds)
