"""Limits the time of probes: of each one, and of all of a run."""

from __future__ import annotations

import time

from harness.errors import OutOfTimeError

STEPS_PER_TIMEOUT = 20
"""The time-out is for up to this many optimizer steps; more steps have proportionally more."""


def refuse_after(deadline: float | None, what: str) -> None:
    """Raise OutOfTimeError where a deadline has passed before a probe begins.

    A probe that runs goes on to its end: it takes seconds, and its answer is kept.

    deadline: by the monotonic clock; None: never.
    what: the probe in words.
    """
    if deadline is not None and time.monotonic() >= deadline:
        raise OutOfTimeError(f"the time budget was used up before {what}")
