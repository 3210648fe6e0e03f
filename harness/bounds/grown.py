"""Finds what holds more memory at the peak of the locked batch than when that was locked. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.bounds import predicted
from harness.bounds.predicted import Growth, at_most
from harness.breakdown.shares import held_at
from harness.breakdown.table import OTHERS, module_of

if TYPE_CHECKING:
    from harness.lockfile.profiles import LockedProfile
    from harness.measurement import Measurement, Profile

# A measured peak may be at another operator for another batch: less than this share of the limit
# explains nothing.
_LEAST_SHARE = 0.002


def growth(found: Measurement, locked: LockedProfile) -> list[Growth]:
    """Return the holders that have grown at the peak of the locked batch, largest growth first.

    Those of the prediction where there is one, else those that were measured: of them only where
    the largest batch has become smaller, and both tables tell what a sample takes.
    """
    if found.predicted_at_locked:
        return predicted.growth(found, locked)
    smaller = 0 < found.max_batch_size < locked.max_batch_size
    if not (smaller and found.memory_per_sample and locked.memory_per_sample):
        return []
    then, now = (_held(profile, locked.max_batch_size) for profile in (locked, found))
    least = max(1, int(_LEAST_SHARE * locked.memory_limit_bytes))
    grown = []
    for holder, size in now.items():
        if module_of(holder) == OTHERS:
            continue
        bound = 0 if holder in then else at_most(then, holder)
        line = found.memory_lines.get(holder, "")
        grown.append(Growth(holder, then.get(holder, bound), size, bound > 0, line))
    return sorted(
        (one for one in grown if one.grown_bytes >= least), key=lambda one: -one.grown_bytes
    )


def batch_of(found: Measurement, locked: LockedProfile) -> int | None:
    """Return the batch size at whose peak `growth` compares."""
    return locked.predicted_batch_size if found.predicted_at_locked else locked.max_batch_size


def _held(profile: Profile, batch_size: int) -> dict[str, int]:
    return held_at(profile.memory, profile.memory_per_sample, batch_size)
