"""Finds, locks and watches a CUDA GPU through NVML. Each GPU runs one case at a time.

The probe's side is `harness.memory_bounds.cuda`.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING

from harness.devices.cuda_environment import allocator_settings, showing
from harness.devices.nvml import gpus as nvml
from harness.devices.nvml.health import HealthWatch
from harness.errors import MachineError
from harness.file_locks import (
    WAIT_SECONDS,
    LockTimeoutError,
    NoLocksError,
    is_locked,
    lock_first,
)
from harness.simulated.mark import WORLD, is_simulated
from harness.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.devices.nvml.gpu import Gpu, Memory
    from harness.file_locks import HeldLock
    from harness.protocol.case import BoundSpec

_log = logging.getLogger("harness")

LOCK_FOLDER = Path("/tmp")  # noqa: S108 - locks must be where every user's are
"""The folder of the GPUs' locks. Of those that all users can write to, every machine has this."""

# The seconds between two looks at memory.
_PAUSE, _LONG_PAUSE = 0.05, 1.0
# The driver may take this long to free what a probe held.
_GIVE_BACK_SECONDS = 20.0
# The driver's own use of memory moves by some MiB.
_JITTER_BYTES = 64 << 20


class CudaDevice:
    """One GPU; of several GPUs that are alike, the first free one.

    Args:
        gpus: the GPUs that match; all have the name and memory of the first.
        budget_bytes: cap on the memory; None for all of it.
        fraction: share of the memory that training may reserve.
        wait_seconds: how long to wait for memory that others hold.
        lock_seconds: how long to wait while another run measures on the GPU.

    """

    can_snapshot = True

    def __init__(
        self,
        gpus: Sequence[Gpu],
        budget_bytes: int | None,
        fraction: float,
        wait_seconds: float = 0.0,
        lock_seconds: float = WAIT_SECONDS,
    ) -> None:
        self.gpus = gpus
        self.gpu = gpus[0]
        self.total_bytes = self.gpu.memory_bytes
        self.wait_seconds = wait_seconds
        self.lock_seconds = lock_seconds
        self.emulated = budget_bytes is not None
        self.identity = replace(
            self.gpu.identity, memory_bytes=budget_bytes or self.gpu.memory_bytes
        )
        self.bound: BoundSpec = {
            "accelerator": "cuda",
            "budget_bytes": budget_bytes,
            "fraction": fraction,
        }
        self.versions: Mapping[str, str] = {"driver": self.gpu.driver}
        self.memory_settings = allocator_settings(os.environ)
        # NVML's total is a little above CUDA's, so this is an estimate: the probe asks CUDA.
        self._wanted_bytes = int(fraction * self.identity.memory_bytes)
        self._used_before = 0
        self._watch: HealthWatch | None = None
        self._slowed: str | None = None
        self._xids: tuple[int, ...] = ()

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment variables that show a process this GPU and no other."""
        return showing(self.gpu.uuid)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Lock a GPU for one case, and wait until other processes leave enough of its memory.

        Raises MachineError when they do not within `wait_seconds`, and when another run measures on
        it for longer than `lock_seconds`.
        """
        lock = self._lock_one()
        try:
            with HealthWatch(self.gpu.uuid) as watch:
                self._watch = watch
                self._slowed, self._xids = None, ()
                self._used_before = self._await_room(self.wait_seconds)
                yield
        finally:
            self._watch = None
            lock.release()

    def settle(self) -> None:
        """Wait until a probe's memory is free again, and check the GPU's health.

        Raises MachineError when other processes took the memory, or when the GPU is in trouble.
        """
        if self._watch is None:
            return
        if trouble := self._watch.trouble():
            raise MachineError(
                f"{self.gpu.name} ({self.gpu.uuid}) is in trouble: {'; '.join(trouble)}. What was "
                "measured meanwhile cannot be trusted; see `nvidia-smi -q` and the kernel's log"
            )
        self._slowed = self._watch.throttled() or self._slowed
        self._xids = self._watch.xids()
        deadline = time.monotonic() + _GIVE_BACK_SECONDS
        while nvml.memory(self.gpu.uuid).used_bytes > self._used_before + _JITTER_BYTES:
            if time.monotonic() > deadline:
                # Other processes hold this memory, which is no trouble while they leave enough.
                self._used_before = self._await_room(self.wait_seconds)
                return
            time.sleep(_PAUSE)

    def wanted_bytes(self, now: Memory) -> int:
        """Return how much of the memory must be free before a case runs."""
        # The memory that driver and firmware keep is part of the total and never free.
        return min(self._wanted_bytes, now.total_bytes - (now.reserved_bytes or 0))

    def notes(self) -> tuple[str, ...]:
        """Return notes about the device for readers of the measurement."""
        notes = []
        if self._slowed is not None:
            notes.append(
                f"the GPU was slowed down ({self._slowed}): samples per second are too low"
            )
        if self._xids:
            # An Xid of the hardware has ended the case, so these come from a program: an illegal
            # access, say.
            told = ", ".join(map(str, dict.fromkeys(self._xids)))
            notes.append(
                f"the driver reported Xid {told} for a program on the GPU: see the kernel's log"
            )
        return tuple(notes)

    def _lock_one(self) -> HeldLock:
        """Wait for a GPU that no other run or worker uses, and lock it.

        Raises MachineError when others use it for longer than `lock_seconds`.
        """
        gpus = {_lock_path(gpu.uuid): gpu for gpu in self.gpus}
        names = " and ".join(f"{gpu.name} ({gpu.uuid})" for gpu in self.gpus)
        try:
            held = lock_first(list(gpus), names, seconds=self.lock_seconds)
        except LockTimeoutError as error:
            raise MachineError(
                f"{error}, or wait longer (--gpu-profile-wait): each GPU runs one case at a time"
            ) from error
        except (NoLocksError, OSError) as error:
            raise MachineError(
                f"the lock file of {names}, {', '.join(map(str, gpus))}, cannot be taken "
                f"({error}): remove it, or let everyone who profiles on this GPU read it"
            ) from error
        self.gpu = gpus[held.path]
        return held

    def _await_room(self, seconds: float) -> int:
        """Wait until enough memory is free, and return the bytes that are in use.

        Raises MachineError when that takes longer than `seconds`.
        """
        deadline = time.monotonic() + seconds
        told = False
        while True:
            now = nvml.memory(self.gpu.uuid)
            wanted = self.wanted_bytes(now)
            if now.free_bytes >= wanted:
                return now.used_bytes
            busy = (
                f"{self.gpu.name} ({self.gpu.uuid}) is busy: {format_bytes(now.free_bytes)} are "
                f"free, and a probe may use {format_bytes(wanted)}; {users_in_words(self.gpu.uuid)}"
            )
            if time.monotonic() >= deadline:
                raise MachineError(
                    f"{busy}. Waited {seconds:.0f} s: end what runs there, or wait longer "
                    "(--gpu-profile-wait)"
                )
            if not told:
                told = True
                _log.warning("%s; waiting up to %.0f s", busy, seconds)
            time.sleep(min(_LONG_PAUSE, max(_PAUSE, deadline - time.monotonic())))


def is_held(uuid: str) -> bool:
    """Return whether a case runs on a GPU now, of any run of this machine."""
    return is_locked(_lock_path(uuid))


def _lock_path(uuid: str) -> Path:
    """Return the lock file of a GPU: the same for all users of the machine, whatever TMPDIR is."""
    if is_simulated():
        # Each simulated world has GPUs of its own, under the same names as in others.
        return Path(os.environ[WORLD]).parent / f"gpu-profile-{uuid}.lock"
    folder = LOCK_FOLDER if os.access(LOCK_FOLDER, os.W_OK | os.X_OK) else Path(gettempdir())
    return folder / f"gpu-profile-{uuid}.lock"


def users_in_words(uuid: str) -> str:
    """Return the processes on a GPU in words, as far as NVML names them."""
    users = [
        (
            "this process"  # a script that calls harness.tune
            if user.pid == os.getpid()
            else f"process {user.pid}" + (f" ({user.name})" if user.name else "")
        )
        + (f" with {format_bytes(user.used_bytes)}" if user.used_bytes is not None else "")
        for user in nvml.processes(uuid)
    ]
    if not users:
        return "NVML names no process: it may run outside of this container"
    return "used by " + ", ".join(users)
