"""Keeps the parts of a process's state that a workload's constructor may change for the zygote.

The zygote and its supervisors go on with their own state. Probes get the state that the constructor
left, because the training runs with it, too.
"""

from __future__ import annotations

import faulthandler
import resource
from contextlib import suppress
from dataclasses import dataclass
from os import umask
from resource import RLIM_INFINITY, getrlimit, setrlimit
from signal import (
    ITIMER_PROF,
    ITIMER_REAL,
    ITIMER_VIRTUAL,
    SIG_BLOCK,
    SIG_DFL,
    SIG_SETMASK,
    getsignal,
    pthread_sigmask,
    setitimer,
    signal,
    valid_signals,
)
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_LIMITS = sorted({value for name, value in vars(resource).items() if name.startswith("RLIMIT_")})
# Python's number for no limit is -1, the kernel's is the largest that there is.
_ANY = 1 << 64


@dataclass(frozen=True)
class ProcessState:
    """Handlers of signals, the blocked signals, the soft limits and the umask of this process."""

    handlers: Mapping[int, Any]
    limits: Mapping[int, int]
    blocked: frozenset[int]
    umask: int

    @classmethod
    def read(cls) -> ProcessState:
        """Return the present state."""
        mask = umask(0o022)
        umask(mask)
        return cls(
            {number: getsignal(number) for number in valid_signals()},
            {limit: getrlimit(limit)[0] for limit in _LIMITS},
            frozenset(pthread_sigmask(SIG_BLOCK, ())),
            mask,
        )

    def set(self) -> None:
        """Bring this process into this state. A handler that native code has set is dropped."""
        for number, handler in self.handlers.items():
            if getsignal(number) is not handler:
                with suppress(OSError, ValueError):  # nobody can handle SIGKILL and SIGSTOP
                    signal(number, SIG_DFL if handler is None else handler)
        for limit, soft in self.limits.items():
            now, hard = getrlimit(limit)
            # A hard limit that was lowered stays.
            allowed = soft if hard in (RLIM_INFINITY, soft) else min(soft % _ANY, hard)
            if allowed != now:
                with suppress(OSError, ValueError):
                    setrlimit(limit, (allowed, hard))
        pthread_sigmask(SIG_SETMASK, self.blocked)
        umask(self.umask)


def stop_timers() -> None:
    """Stop the timers that would end this process; a fork has none of them."""
    faulthandler.cancel_dump_traceback_later()
    for timer in (ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF):
        setitimer(timer, 0)
