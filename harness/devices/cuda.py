"""Finds, locks and watches a CUDA GPU through NVML: it runs one case, or small ones that share it.

The probe's side is `harness.memory_bounds.cuda`.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.devices.cuda_environment import allocator_settings, showing
from harness.devices.gpu_locks import lock_gpus
from harness.devices.nvml import gpus as nvml
from harness.devices.nvml.health import HealthWatch
from harness.devices.sharing import Neighbours
from harness.errors import MachineError
from harness.file_locks import WAIT_SECONDS
from harness.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.devices.gpu_locks import HeldGpus
    from harness.devices.nvml.gpu import Gpu, Memory
    from harness.protocol.case import BoundSpec, CudaBoundSpec

_log = logging.getLogger("harness")

CONTEXT_BYTES = 1 << 30
"""What a case on a GPU takes beside what torch reserves: CUDA's context, and its libraries."""

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
    stands_for = None

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
        self._bound: CudaBoundSpec = {
            "accelerator": "cuda",
            "budget_bytes": budget_bytes,
            "fraction": fraction,
        }
        self.claim_bytes: int | None = None
        """What a case reserves at most, where it may share the GPU; None: it is alone on it."""
        self.shared = False
        """Whether the case that ran last was allowed to share the GPU."""
        self._most_neighbours = Neighbours()
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

    @property
    def bound(self) -> BoundSpec:
        """The description from which a probe makes its memory bound."""
        if self.claim_bytes is None:
            return self._bound
        return {**self._bound, "claim_bytes": self.claim_bytes}

    @property
    def share(self) -> float:
        """The part of a GPU that a case claims: 1 unless it may share."""
        return 1.0 if self.claim_bytes is None else self._claim_with_context / self.total_bytes

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Lock a GPU for one case, and wait until other processes leave enough of its memory.

        Raises MachineError when they do not within `wait_seconds`, and when another run measures on
        it for longer than `lock_seconds`.
        """
        self.shared = False
        claim = None if self.claim_bytes is None else self._claim_with_context
        held = lock_gpus(self.gpus, 1, self.lock_seconds, claim)
        try:
            (self.gpu,) = held.gpus
            with self.watched(held):
                yield
        finally:
            held.release()

    @contextmanager
    def watched(self, held: HeldGpus) -> Iterator[None]:
        """Wait until other processes leave enough memory of a GPU that is locked, and watch it.

        held: this GPU's lock, and maybe others'.

        Raises MachineError when they do not within `wait_seconds`.
        """
        self._held = held
        try:
            with HealthWatch(self.gpu.uuid) as watch:
                self._watch = watch
                self._slowed, self._xids = None, ()
                self.shared, self._most_neighbours = self.claim_bytes is not None, Neighbours()
                self._used_before = self._await_room(self.wait_seconds)
                yield
        finally:
            self._watch = None

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
        if self.shared:
            # What others use of their claims comes and goes; what was claimed here must be free.
            self._await_room(_GIVE_BACK_SECONDS + self.wait_seconds, patient=_GIVE_BACK_SECONDS)
            return
        deadline = time.monotonic() + _GIVE_BACK_SECONDS
        while nvml.memory(self.gpu.uuid).used_bytes > self._used_before + _JITTER_BYTES:
            if time.monotonic() > deadline:
                # Other processes hold this memory, which is no trouble while they leave enough.
                self._used_before = self._await_room(self.wait_seconds)
                return
            time.sleep(_PAUSE)

    def wanted_bytes(self, now: Memory) -> int:
        """Return how much of the memory must be free before a case runs."""
        wanted = self._wanted_bytes if self.claim_bytes is None else self._claim_with_context
        # The memory that driver and firmware keep is part of the total and never free.
        return min(wanted, now.total_bytes - (now.reserved_bytes or 0))

    def notes(self) -> tuple[str, ...]:
        """Return notes about the device for readers of the measurement."""
        notes = []
        if self.shared and self.claim_bytes is not None:
            others = self._most_neighbours
            beside = (
                f"{others.number} other case{'s' * (others.number > 1)} with "
                f"{format_bytes(others.claimed_bytes)} at most"
                if others.number
                else "none"
            )
            notes.append(
                f"it was allowed to share {self.gpu.name} ({self.gpu.uuid}), claimed "
                f"{format_bytes(self._claim_with_context)} and saw {beside}: samples per second "
                "are not taken"
            )
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

    @property
    def _claim_with_context(self) -> int:
        assert self.claim_bytes is not None
        return self.claim_bytes + CONTEXT_BYTES

    def _await_room(self, seconds: float, *, patient: float = 0.0) -> int:
        """Wait until enough memory is free, and return the bytes that are in use.

        patient: for so many seconds it says nothing.

        Raises MachineError when that takes longer than `seconds`.
        """
        began = time.monotonic()
        deadline = began + seconds
        told = False
        while True:
            if self.shared:
                self._most_neighbours = max(
                    self._most_neighbours,
                    self._held.neighbours(self.gpu),
                    key=lambda one: one.claimed_bytes,
                )
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
            if not told and time.monotonic() - began >= patient:
                told = True
                _log.warning("%s; waiting up to %.0f s", busy, seconds)
            pause = _PAUSE if patient and not told else _LONG_PAUSE
            time.sleep(min(pause, max(_PAUSE, deadline - time.monotonic())))


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
