"""Estimates from the lock what a run will cost, in one line before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.matrix.settings import LrRangeSettings
from harness.report import words
from harness.throughput.choice import LEAST_ROUNDS
from harness.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.lockfile.profiles import LockedProfile
    from harness.matrix.case import Case
    from harness.matrix.presets import Preset
    from harness.measurement import Source

# Rough, as the whole estimate is: a zygote imports torch and Lightning and builds the model, a
# probe is a fork that starts its device and a Trainer.
_CASE_STARTUP_SECONDS = 10.0
_PROBE_STARTUP_SECONDS = 2.0
# A search from nothing takes at most so many probes where memory first hardly rises with the batch
# (`benchmarks/search_simulation.py`, flat and then a line).
_MOST_PROBES = 19
# One seed confirms a locked range where nothing has changed, with about so many trials.
_CONFIRMING_TRIALS = 6

# A search from nothing, in the median; the bracket of B and B + 1.
_SEARCH_PROBES, _BRACKET_PROBES = 5, 2
# Most sizes are far too slow and timed once. These are timed in each round.
_TIMED_SIZES = 4

_FEWER_STEPS = "for fewer LR steps lower lr_range.num_training, or set lr_range.when to never"


@dataclass(frozen=True)
class CostItem:
    """The work that a run will do for one case."""

    case_id: str
    locked: LockedProfile | None
    """Holds the speed; without it, the case's time is not estimated."""
    num_probes: int
    lr_steps: int
    """Optimizer steps of the LR range test over all seeds; 0 when it will not run."""
    lr_steps_are_most: bool
    """Whether the LR range test may end after far fewer steps: no locked range shows where to."""
    steps_per_trial: int
    cold: bool = False
    """Whether the search ignores the lock."""
    soak_steps: int = 0


def cost_of(case: Case, locked: LockedProfile | None) -> CostItem:
    """Return the work that a run will do for a case, with the profile that it starts from."""
    cold = case.preset == "thorough"
    steps, are_most = lr_steps(case.lr_range, locked, cold=cold)
    num_probes = _BRACKET_PROBES if locked and not cold else _SEARCH_PROBES
    if cold:
        num_probes += _BRACKET_PROBES  # the bracket is repeated
    if len(case.buckets) > 1:
        # Each bucket has a search of its own, and all of them train in turn.
        num_probes = num_probes * len(case.buckets) + _BRACKET_PROBES
    soak = case.search.soak_steps
    return CostItem(
        case_id=case.id,
        locked=locked,
        num_probes=num_probes + bool(soak) + _timed_probes(case, locked),
        lr_steps=steps,
        lr_steps_are_most=are_most,
        steps_per_trial=case.search.steps_per_trial,
        cold=cold,
        soak_steps=soak,
    )


def _timed_probes(case: Case, locked: LockedProfile | None) -> int:
    """Return about how many probes time batch sizes."""
    one_size = 0 if case.bounds.throughput.max_drop is None else LEAST_ROUNDS
    kept = case.preset == "quick" and locked is not None and locked.samples_per_second_spread
    if case.search.objective == "memory" or kept:
        return one_size
    return _TIMED_SIZES * LEAST_ROUNDS


def estimate_line(
    cases: Sequence[CostItem], source: Source = "measured", preset: Preset | None = None
) -> str:
    """Return the header line: the number of cases, probes and LR steps, and a rough duration.

    A case takes 10 s to start and each of its probes 2 s, plus the steps, at the locked speed and
    batch. Both constants are rough. The times of cases that run at the same time are added up.
    """
    start = "gpu-profile: " if preset is None else f"gpu-profile: preset {preset}: "
    number = words.count(len(cases), "case") if cases else "no case"
    if source == "predicted":
        idle = "" if preset is None else ", and a preset changes no prediction"
        return f"{start}{number} to predict; nothing runs on a GPU{idle}"
    if preset == "production":
        return f"{start}{number} to check against the lock; nothing is measured"
    if not cases:
        return f"{start}no selected case runs on this machine"
    known = [seconds for seconds in map(seconds_of, cases) if seconds is not None]
    parts = [number, f"about {_num_probes(cases)}", *_lr_steps(cases)]
    if known:
        parts.append(f"about {format_seconds(sum(known))}")
    return f"{start}{', '.join(parts)}{_note(cases, preset)}"


def lr_steps(
    settings: LrRangeSettings, locked: LockedProfile | None, *, cold: bool = False
) -> tuple[int, bool]:
    """Return the optimizer steps of an LR range test, and whether they are the most it may take.

    A test that is `cold` starts from nothing and takes all seeds. Else a locked range of the same
    setting needs no more than to be confirmed. The most is that of one horizon: a case whose loss
    does not fall in it may take more.
    """
    answered = locked is not None and locked.lr_answered
    if settings.when == "never" or (settings.when == "changed" and answered):
        return 0, False
    budget = settings.max_steps
    if cold or locked is None or locked.lr_horizon is None or not locked.learning_rate_range:
        return budget, True
    default = LrRangeSettings.model_fields["horizon"].default
    if locked.settings.get("lr_range.horizon", default) != settings.horizon:
        return budget, True
    one_sweep = settings.num_training if settings.sweeps else 0
    return min(budget, one_sweep + _CONFIRMING_TRIALS * locked.lr_horizon), False


def _num_probes(cases: Sequence[CostItem]) -> str:
    """Return `4 probes`, or `5 to 19 probes` where a search starts from nothing."""
    few = sum(case.num_probes for case in cases)
    more = _MOST_PROBES - _SEARCH_PROBES
    most = few + sum(more for case in cases if case.cold or case.locked is None)
    number = words.count(most, "probe")
    return number if few == most else f"{few} to {number}"


def _lr_steps(cases: Sequence[CostItem]) -> list[str]:
    """Return `about 240 LR steps`, `at most 600 LR steps`, or both, for different cases."""
    sums = dict.fromkeys((False, True), 0)
    for case in cases:
        sums[case.lr_steps_are_most] += case.lr_steps
    return [
        f"{'at most' if most else 'about'} {words.count(steps, 'LR step')}"
        for most, steps in sums.items()
        if steps
    ]


def _note(cases: Sequence[CostItem], preset: Preset | None) -> str:
    unlocked = sum(case.locked is None for case in cases)
    without_speed = sum(case.locked is not None and seconds_of(case) is None for case in cases)
    notes = [f"{words.count(unlocked, 'case')} never locked"] if unlocked else []
    if without_speed:
        notes.append(f"{words.count(without_speed, 'case')} without a locked speed")
    text = f" ({', '.join(notes)}: not estimated)" if notes else ""
    if unlocked and preset == "quick":
        text += "; without a lock quick has nothing to verify, and searches as without a preset"
    # The speed is not known yet, so a first run may last longer than anybody expects.
    long = any(case.locked is None and case.lr_steps for case in cases)
    return f"{text}; {_FEWER_STEPS}" if long else text


def seconds_of(case: CostItem) -> float | None:
    """Return about how long a case takes; None where no lock has its speed."""
    locked = case.locked
    if locked is None or not locked.samples_per_second:
        return None
    probing = case.num_probes * (
        _PROBE_STARTUP_SECONDS
        + case.steps_per_trial * locked.max_batch_size / locked.samples_per_second
    )
    sweeping = (case.lr_steps + case.soak_steps) * locked.batch_size / locked.samples_per_second
    return _CASE_STARTUP_SECONDS + probing + sweeping
