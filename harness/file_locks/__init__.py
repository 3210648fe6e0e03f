"""Locks files and folders, and waits for those that others hold.

Runs in pytest's process and in the command. Imports no library.
"""

from harness.file_locks.holders import holder_of
from harness.file_locks.locks import HeldLock, NoLocksError, is_locked, try_lock
from harness.file_locks.waiting import (
    WAIT_SECONDS,
    LockTimeoutError,
    lock_first,
    lock_several,
    locked,
)

__all__ = [
    "WAIT_SECONDS",
    "HeldLock",
    "LockTimeoutError",
    "NoLocksError",
    "holder_of",
    "is_locked",
    "lock_first",
    "lock_several",
    "locked",
    "try_lock",
]
