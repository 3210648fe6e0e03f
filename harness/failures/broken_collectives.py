"""Tells from a failure's words whether a collective broke, because another rank is gone. Pure."""

from __future__ import annotations

import re

# The words of torch, gloo and NCCL where another rank is gone or silent.
_BROKEN = re.compile(
    r"""
    gloo/transport | gloo/rendezvous | \[c10d\] | \bgloo\b.*(timed?\s?out|connect)
    | Connection\ (closed|reset)\ by\ (remote\ )?peer | Broken\ pipe
    | Dist(Backend|Network|Store)Error | Broken\ collective | wait\ timeout\ after
    | ncclRemoteError | ncclSystemError | NCCL\ (error|communicator|watchdog)
    | (failed\ to|timed\ out\ waiting\ for).*\bclients?\b | store->(get|wait)
    | the\ launch\ timed\ out\ and\ was\ terminated
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LAST_LINES = 40


def is_broken(text: str) -> bool:
    """Return whether a text has the words of a collective that broke."""
    return _BROKEN.search(text) is not None


def tells_of_another_rank(detail: str | None, traceback: str | None) -> bool:
    """Return whether a failure is a consequence: torch names what broke in its last lines."""
    lines = (traceback or "").splitlines()[-_LAST_LINES:]
    return is_broken("\n".join([detail or "", *lines]))
