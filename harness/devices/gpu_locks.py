"""Locks the GPUs of a case for its length: each GPU runs one case, or some that claim a part of it.

A case of several GPUs gets all of them or none, and shares none. Each GPU has a *turn*, a lock that
the case keeps which waits for the GPU. No other case begins there meanwhile, so a case of several
GPUs, of a whole one or of a large part of one is not kept waiting by smaller ones that come later.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING

from harness.devices.nvml import gpus as nvml
from harness.devices.sharing import Neighbours, lock_a_part, neighbours
from harness.errors import MachineError
from harness.file_locks import (
    LockTimeoutError,
    NoLocksError,
    is_locked,
    lock_first,
    lock_several,
    try_lock,
)
from harness.simulated.mark import WORLD, is_simulated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.devices.nvml.gpu import Gpu
    from harness.file_locks import HeldLock

LOCK_FOLDER = Path("/tmp")  # noqa: S108 - locks must be where every user's are
"""The folder of the GPUs' locks. Of those that all users can write to, every machine has this."""


@dataclass(frozen=True)
class HeldGpus:
    """GPUs that this process has locked, until `release`."""

    gpus: tuple[Gpu, ...]
    _locks: tuple[HeldLock, ...]

    def neighbours(self, gpu: Gpu) -> Neighbours:
        """Return the other cases that share one of the GPUs now."""
        lock = self._locks[self.gpus.index(gpu)]
        return neighbours(lock.path, lock)

    def release(self) -> None:
        """Give all of them back."""
        for lock in self._locks:
            lock.release()


def lock_gpus(
    gpus: Sequence[Gpu], count: int, seconds: float, claim_bytes: int | None = None
) -> HeldGpus:
    """Wait for `count` GPUs that no other run or worker uses, and lock them.

    gpus: GPUs of one kind.
    claim_bytes: what one GPU must have left beside the claims of others, who share it; None: no
        other may use a GPU.

    Raises MachineError when others use them for longer than `seconds`.
    """
    by_path = {lock_path(gpu.uuid): gpu for gpu in gpus}
    # In one order, whatever order a process sees its GPUs in.
    paths = list(by_path) if count == 1 else sorted(by_path)
    names = " and ".join(f"{gpu.name} ({gpu.uuid})" for gpu in gpus)

    def lock_one(path: Path) -> HeldLock | None:
        if claim_bytes is None:
            return try_lock(path)
        now = nvml.memory(by_path[path].uuid)
        return lock_a_part(path, claim_bytes, now.total_bytes - (now.reserved_bytes or 0))

    try:
        if count == 1:
            held = [lock_first(paths, names, seconds=seconds, turn_of=_turn_of, attempt=lock_one)]
        else:
            assert claim_bytes is None, "a case of several GPUs never shares"
            turn = _path(f"turn-{'-'.join(re.findall('[A-Za-z0-9]+', gpus[0].name))}")
            held = lock_several(paths, count, names, seconds=seconds, turn=turn, turn_of=_turn_of)
    except LockTimeoutError as error:
        raise MachineError(
            f"{error}, or wait longer (--gpu-profile-wait): each GPU runs one case at a time"
        ) from error
    except (NoLocksError, OSError) as error:
        raise MachineError(
            f"the lock file of {names}, {', '.join(map(str, by_path))}, cannot be taken "
            f"({error}): remove it, or let everyone who profiles on this GPU read it"
        ) from error
    # The ranks take them in the order in which this process sees them.
    locks = sorted(held, key=lambda one: [*by_path].index(one.path))
    return HeldGpus(tuple(by_path[one.path] for one in locks), tuple(locks))


def is_held(uuid: str) -> bool:
    """Return whether a case runs on a GPU now, of any run of this machine."""
    return is_locked(lock_path(uuid))


def lock_path(uuid: str) -> Path:
    """Return the lock file of a GPU: the same for all users of the machine, whatever TMPDIR is."""
    return _path(uuid)


def _turn_of(path: Path) -> Path:
    """Return the lock file of a GPU's turn."""
    return path.with_name(f"{path.stem}-turn{path.suffix}")


def _path(name: str) -> Path:
    if is_simulated():
        # Each simulated world has GPUs of its own, under the same names as in others.
        return Path(os.environ[WORLD]).parent / f"gpu-profile-{name}.lock"
    folder = LOCK_FOLDER if os.access(LOCK_FOLDER, os.W_OK | os.X_OK) else Path(gettempdir())
    return folder / f"gpu-profile-{name}.lock"
