"""The time that a run may take: which cases it still begins, and how long they go on."""

from __future__ import annotations

import time
from dataclasses import dataclass

from harness.units import format_duration


@dataclass(frozen=True, slots=True)
class TimeBudget:
    """The wall time of a run from its start, whatever the number of its GPUs."""

    seconds: float
    deadline: float
    """Of the machine's monotonic clock, which all processes share."""

    @classmethod
    def starting_now(cls, seconds: float) -> TimeBudget:
        """Return the budget of a run that starts now."""
        return cls(seconds, time.monotonic() + seconds)

    def refusal(self, estimate: float | None) -> str | None:
        """Return why a case is not begun; None where it is.

        estimate: its seconds; None where nothing tells, and then it is begun if any time is left.
        """
        left = self.deadline - time.monotonic()
        if left > 0 and (estimate is None or estimate <= left):
            return None
        budget = f"the time budget of {format_duration(self.seconds)}"
        if left <= 0:
            return f"{budget} was used up"
        return f"about {format_duration(estimate or 0)} do not fit into what is left of {budget}"
