"""Says which batch sizes lie within a bound, by exact arithmetic and measured noise. Pure."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.lockfile.profiles import LockedProfile

_CPU_NOISE = 0.005


def smallest_allowed(locked_batch_size: int, max_drop: float, noise: int = 0) -> int:
    """Return the smallest batch size within the bound: locked x (1 - max_drop), rounded up.

    With 2%, 98 of 100 is allowed and 97 is not; of 10 only 10 is allowed. A drop by `noise` samples
    or fewer is always allowed.
    """
    exact = math.ceil(locked_batch_size * (1 - _decimal(max_drop)))
    return max(1, min(exact, locked_batch_size - noise))


def measured_noise(locked: LockedProfile) -> int:
    """Return by how many samples the largest batch differs between runs of an unchanged case.

    On the CPU's bounded budget this is 0.5%, at least one sample (`benchmarks/exactness.py`) or one
    step of `search.round_to`. On a GPU it is 0, because the allocator repeats itself.
    """
    step = locked.settings.get("search.round_to", 1)
    return noise_of(locked, locked.max_batch_size, step if isinstance(step, int) else 1)


def noise_of(locked: LockedProfile, batch_size: int, step: int = 1) -> int:
    """Return the noise of any batch size that was searched for a locked profile."""
    if locked.device.name != "cpu":
        return 0
    return max(step, math.floor(batch_size * _CPU_NOISE))


def largest_expected(locked_batch_size: int, max_drop: float) -> int:
    """Return the largest batch that is no improvement: locked x (1 + max_drop), rounded down."""
    return math.floor(locked_batch_size * (1 + _decimal(max_drop)))


def same_batch(batch_size: int, locked: LockedProfile, max_drop: float) -> bool:
    """Return whether a batch size is the locked tuned one, within the bound of batch sizes."""
    noise = measured_noise(locked)
    least = smallest_allowed(locked.batch_size, max_drop, noise)
    most = max(largest_expected(locked.batch_size, max_drop), locked.batch_size + noise)
    return least <= batch_size <= most


def _decimal(share: float) -> Fraction:
    """Return a share as it was written: 0.02 is two hundredths, not the nearest binary fraction."""
    return Fraction(repr(float(share)))
