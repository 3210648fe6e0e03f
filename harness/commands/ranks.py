"""Judges a program that trains in several ranks, by the reports of its processes. Pure.

The program's own launcher starts the ranks. As in any case of several ranks, the rank counts that
failed by itself: a collective breaks on all others.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from harness.failures.broken_collectives import tells_of_another_rank

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.commands.inside.reports import Report

# Seconds that other ranks have to tell of their own trouble once one has failed by itself, and once
# one has failed because another one is gone.
_SHORT_SECONDS, _LONG_SECONDS = 2.0, 30.0
# torchrun, and launchers that are built on it, sum up which process has failed first.
_FIRST = re.compile(
    r"Root Cause \(first observed failure\):.*?"
    r"^\s*rank\s*:\s*(\d{1,6})\b.*?^\s*exitcode\s*:\s*(-?\d{1,5})\b",
    re.DOTALL | re.MULTILINE,
)


def of_ranks(reports: Sequence[Report]) -> list[Report]:
    """Return the report of each rank that trained, the one with the largest peak first.

    A rank may start processes of its own; the one with the most steps counts.
    """
    found: dict[int, Report] = {}
    for report in reports:  # those with the most steps come first
        rank = report.get("rank")
        if type(rank) is int and report.number("steps"):
            found.setdefault(rank, report)
    return sorted(found.values(), key=lambda one: -one.number("peak"))


def with_own_reasons(reports: Sequence[Report]) -> list[Report]:
    """Return the reports of ranks that failed by themselves, and not because another one did.

    A launcher that is written in Python fails when one of its ranks has failed.
    """
    return [
        one
        for one in reports
        if type(one.get("rank")) is int and not is_consequence(one.mapping("failure"))
    ]


def is_consequence(failure: dict[str, Any]) -> bool:
    """Return whether a failure is that of a collective."""
    return tells_of_another_rank(failure.get("detail"), failure.get("traceback"))


def first_to_fail(output: str) -> tuple[int, int] | None:
    """Return the rank that has failed first, and its exit code, as the launcher sums it up."""
    found = [(int(one[1]), int(one[2])) for one in _FIRST.finditer(output)]
    return found[-1] if found else None


def why_fewer(trained: Sequence[Report], num_ranks: int, steps: int) -> str | None:
    """Return why the ranks are not those of the case; None where each took its steps."""
    if len(trained) != num_ranks:
        return (
            f"the command trained in {_in_words(len(trained))}, and trainer.devices is "
            f"{num_ranks}: let it start as many, such as with torchrun --nproc-per-node "
            f"{num_ranks}, each with torch's distributed package or with RANK in its environment"
        )
    least = min(trained, key=lambda one: one.number("steps"))
    if (took := least.number("steps")) < steps:
        return (
            f"rank {least['rank']} ended after {took} optimizer step{'s' * (took != 1)}, and a "
            f"probe needs {steps} (search.steps_per_trial) of each rank"
        )
    return None


def _in_words(number: int) -> str:
    if not number:
        return "a process that is no rank"
    return "1 rank" if number == 1 else f"{number} ranks"


def when_one_fails(read: Callable[[], Sequence[Report]]) -> Callable[[], bool]:
    """Return a function that tells whether a program is to be ended: one of its ranks has failed.

    The others may wait for it for as long as their collectives do. So they have a moment to tell
    of their own trouble, and are ended then.

    read: returns the reports so far.
    """
    deadline: float | None = None

    def is_over() -> bool:
        nonlocal deadline
        now = time.monotonic()
        for report in read():
            failure = report.mapping("oom") or report.mapping("failure")
            if failure or report.text("trouble") is not None:
                late = is_consequence(failure) and not report.mapping("oom")
                wanted = now + (_LONG_SECONDS if late else _SHORT_SECONDS)
                deadline = wanted if deadline is None else min(deadline, wanted)
        return deadline is not None and now >= deadline

    return is_over
