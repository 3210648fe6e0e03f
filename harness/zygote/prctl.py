"""Asks the kernel to tie this process to its parent, and orphans to this process."""

from __future__ import annotations

import ctypes
from signal import SIGKILL

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(number: int | None = SIGKILL) -> None:
    """Ask the kernel to send this process a signal when its parent ends; None asks for none.

    The setting survives an `exec`.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, number or 0, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
