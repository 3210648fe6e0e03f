"""Finds micro-batches that make a global batch exactly: its divisors. Pure."""

from __future__ import annotations

from math import isqrt

LARGEST = 1 << 40
"""No global batch is larger; the divisors of such a number are found in a tenth of a second."""


def divisors(number: int) -> list[int]:
    """Return all divisors of a number from 1 to `LARGEST`, ascending."""
    small = [divisor for divisor in range(1, isqrt(number) + 1) if number % divisor == 0]
    return small + [number // divisor for divisor in reversed(small) if divisor**2 != number]


def micro_batches(number: int, least: int = 1, most: int = LARGEST, unit: int = 1) -> list[int]:
    """Return the divisors of a global batch from `least` to `most`, ascending.

    They are multiples of `unit`, unless none is: a batch that is not rounded is better than none.
    """
    found = [divisor for divisor in divisors(number) if least <= divisor <= most]
    return [divisor for divisor in found if divisor % unit == 0] or found
