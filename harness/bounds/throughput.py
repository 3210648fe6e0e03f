"""Judges samples/s at the tuned batch by the locked ones. Pure.

A machine's speed has noise, unlike its memory: a drop counts only beyond the dispersion of both
values, and only if speeds that were timed once more agree.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.bounds.causes import because
from harness.bounds.sizes import same_batch
from harness.bounds.verdict import Verdict, Violation
from harness.identity.same_workload import same_workload
from harness.units import format_around
from harness.wording import RELOCK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.lockfile.profiles import LockedProfile
    from harness.matrix.settings import BoundsSettings
    from harness.measurement import Measurement, Speed

# A difference within so many standard deviations of single rounds is noise. Each speed is a median
# of five rounds or more, so this is more than three standard errors of the difference.
_DEVIATIONS = 2.0


def judge_throughput(
    measurement: Measurement, locked: LockedProfile, bounds: BoundsSettings
) -> Verdict:
    """Judge the speed, if `bounds.throughput.max_drop` is set."""
    max_drop = bounds.throughput.max_drop
    if max_drop is None or measurement.device.simulated:
        return Verdict()
    speed = compared_speed(measurement.speeds, locked, bounds)
    reason = _why_not_judged(measurement, locked, speed)
    if reason is not None or speed is None:
        return Verdict(warnings=(f"bounds.throughput is not judged: {reason}",))
    then = locked.samples_per_second
    assert then is not None, "a lock without a speed is not judged"
    text = f"{_shown(speed)} samples/s at batch {speed.batch_size}"
    again = compared_speed(measurement.speeds_again, locked, bounds)
    if again is not None:
        text += f", and {_shown(again)} measured again,"
    change = speed.samples_per_second / then - 1
    text += f" {'is' if again is None else 'are'} {abs(change):.1%} "
    text += f"{'below' if change < 0 else 'above'} the locked {_locked(locked)}"
    if not _dropped(speed, locked, max_drop):
        if change > max_drop and _differs(speed, locked):
            return Verdict(improvements=(text,))
        return Verdict()
    least = _rounded(then * (1 - max_drop))
    if again is not None and not _dropped(again, locked, max_drop):
        warning = (
            f"samples/s at batch {speed.batch_size} were {_shown(speed)}, where {_locked(locked)} "
            f"are locked, but {_shown(again)} when they were measured again: no drop"
        )
        return Verdict(warnings=(warning,))
    message = (
        f"{text}; at least {least:g} are allowed (max_drop {100 * max_drop:g}%)"
        f"{because(measurement, locked)}"
    )
    return Verdict(
        (Violation("throughput", then, _rounded(speed.samples_per_second), least, message),)
    )


def throughput_suspect(
    measurement: Measurement, locked: LockedProfile, bounds: BoundsSettings
) -> bool:
    """Return whether the speed would fail, so that it must be measured again first."""
    max_drop = bounds.throughput.max_drop
    speed = compared_speed(measurement.speeds, locked, bounds)
    if max_drop is None or speed is None:
        return False
    if _why_not_judged(measurement, locked, speed) is not None:
        return False
    return _dropped(speed, locked, max_drop)


def compared_speed(
    speeds: Iterable[Speed], locked: LockedProfile, bounds: BoundsSettings
) -> Speed | None:
    """Return the speed to compare with the locked one, at the same batch size; None if none is."""
    near = [
        speed
        for speed in speeds
        if same_batch(speed.batch_size, locked, bounds.batch_size.max_drop)
    ]
    return min(near, key=lambda speed: abs(speed.batch_size - locked.batch_size), default=None)


def _why_not_judged(
    measurement: Measurement, locked: LockedProfile, speed: Speed | None
) -> str | None:
    if locked.samples_per_second is None or locked.samples_per_second_spread is None:
        return f"the lock holds no samples/s that were timed in rounds; lock them with `{RELOCK}`"
    if measurement.recipe != locked.recipe or not same_workload(locked, measurement):
        return "the lock is stale"
    then, now = (made.made_with.get("processor") for made in (locked, measurement))
    if then != now:
        return f"the lock was made on another processor, {then or 'unknown'}; this is {now}"
    if speed is None:
        return f"batch {locked.batch_size} is locked, and no batch size near it could be timed"
    return None


def _dropped(speed: Speed, locked: LockedProfile, max_drop: float) -> bool:
    then = locked.samples_per_second
    assert then is not None, "a lock without a speed is not judged"
    return speed.samples_per_second < then * (1 - max_drop) and _differs(speed, locked)


def _differs(speed: Speed, locked: LockedProfile) -> bool:
    then, spread = locked.samples_per_second, locked.samples_per_second_spread
    assert then is not None, "a lock without a speed is not judged"
    assert spread is not None, "a lock without a spread is not judged"
    noise = math.hypot(spread, speed.samples_per_second_spread or 0.0)
    return abs(speed.samples_per_second - then) > _DEVIATIONS * noise


def _shown(speed: Speed) -> str:
    return format_around(speed.samples_per_second, speed.samples_per_second_spread)


def _locked(locked: LockedProfile) -> str:
    assert locked.samples_per_second is not None, "a lock without a speed is not judged"
    return format_around(locked.samples_per_second, locked.samples_per_second_spread)


def _rounded(value: float) -> float:
    """Return a speed with the digits that the lock holds."""
    return float(f"{value:.4g}")
