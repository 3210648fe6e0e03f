"""Keeps what is known of a run while it goes on, from its events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.units import format_seconds
from harness.visible import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.progress.events import Event

_MINUTE, _HOUR = 60, 3600


@dataclass(slots=True)
class CaseState:
    """A case that is being worked on."""

    case_id: str
    number: int
    """The number of cases that had begun, with this one."""
    begun: float
    where: str = ""
    """Where it runs, if that tells it from others: `on H100`."""
    phase: str = ""
    fits: int | None = None
    """The largest batch size that is proved to fit in this phase."""
    fails: int | None = None
    """The smallest one that does not, above it."""
    said: str = ""

    def take(self, event: Event) -> None:
        """Take an event of this case."""
        if event.kind == "phase":
            self.phase, self.fits, self.fails, self.said = one_line(event.text), None, None, ""
            return
        self.say(event.text)
        size = event.batch_size
        if event.kind != "probe" or size is None:
            return
        if event.fits:
            self.fits = max(self.fits or 0, size)
        else:
            self.fails = size if self.fails is None else min(self.fails, size)

    def say(self, text: str) -> None:
        """Keep the first line of what has happened; the id of the case is shown anyway."""
        first = next(iter(text.splitlines()), "")
        said = one_line(first.removeprefix(f"{self.case_id}: "))
        self.said = "" if said == self.phase else said

    @property
    def step(self) -> str:
        """The phase with its bracket: `search: 85 fits, 90 does not`."""
        known = [
            *(() if self.fits is None else (f"{self.fits} fits",)),
            *(() if self.fails is None else (f"{self.fails} does not",)),
        ]
        return f"{self.phase}: {', '.join(known)}" if known else self.phase


@dataclass(slots=True)
class RunState:
    """The cases of a run: how many, which of them are done, and how long they should take."""

    total: int | None = None
    """None where nobody knows."""
    estimates: Mapping[str, float] = field(default_factory=dict)
    """The seconds that a case should take, where its lock gives a basis for that."""
    running: dict[str, CaseState] = field(default_factory=dict)
    done: dict[str, float] = field(default_factory=dict)
    """The seconds that cases have taken."""
    began: int = 0

    def take(self, event: Event, now: float) -> None:
        """Take an event; those of cases that nobody has begun are of another run."""
        known = self.running.get(event.case_id)
        if event.kind == "begin" and not event.text and known is not None and known.where:
            return  # it was begun elsewhere, and its answer is here
        if event.kind == "begin":
            self.began += 1
            self.running[event.case_id] = CaseState(event.case_id, self.began, now, event.text)
            return
        case = self.running.get(event.case_id)
        if case is None:
            return
        if event.kind == "end":
            self.done[event.case_id] = now - self.running.pop(event.case_id).begun
        else:
            case.take(event)

    def seconds_left(self, now: float) -> float | None:
        """Return about how long the run will go on; None where there is no honest number.

        Each case that has not ended needs an estimate. They are scaled by what cases of this run
        have taken, as far as they had estimates. A case that has outlasted its own shows that they
        are wrong; several at a time share the machine.
        """
        if self.total is None or len(self.estimates) < self.total or len(self.running) != 1:
            return None
        (case,) = self.running.values()
        if case.case_id not in self.estimates:
            return None
        known = [name for name in self.done if name in self.estimates]
        promised = sum(self.estimates[name] for name in known)
        taken = sum(self.done[name] for name in known)
        scale = taken / promised if promised and taken else 1.0
        own = scale * self.estimates[case.case_id] - (now - case.begun)
        if own <= 0:
            return None
        waiting = self.estimates.keys() - self.done.keys() - {case.case_id}
        return own + scale * sum(self.estimates[name] for name in waiting)

    def parts(self, case: CaseState, now: float) -> tuple[str, ...]:
        """Return the words on a case: which it is, its phase and bracket, elapsed and left."""
        name = one_line(f"{case.case_id} {case.where}".strip())
        if self.total is not None and self.total > 1:
            name = f"case {case.number} of {max(self.total, self.began)}: {name}"
        left = self.seconds_left(now)
        times = elapsed(now - case.begun) + (
            "" if left is None else f", about {format_seconds(left)} left"
        )
        return tuple(part for part in (name, case.step, times) if part)


def elapsed(seconds: float) -> str:
    """Return a duration as a clock shows it: `0:07`, `1:02:03`."""
    whole = int(seconds)
    hours, minutes = whole // _HOUR, whole % _HOUR // _MINUTE
    if hours:
        return f"{hours}:{minutes:02}:{whole % _MINUTE:02}"
    return f"{minutes}:{whole % _MINUTE:02}"
