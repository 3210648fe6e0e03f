"""Simulated training speeds with the noise of a machine, for the choice of a batch by speed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from harness.throughput import Choice, Rounds, choose, sizes_to_time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def chance(seed: int) -> Random:
    """Return a generator of noise."""
    return Random(seed)  # noqa: S311 - noise, not cryptography


def saturating(size: int) -> float:
    """Return samples/s where a step takes the time of 30 samples, and that of its samples."""
    return 1000 * size / (30 + size)


def linear(size: int) -> float:
    """Return samples/s where a step takes the same time at any size."""
    return 10.0 * size


def kinked(size: int) -> float:
    """Return samples/s that rise in proportion, and from 48 samples on hardly at all."""
    return 10.0 * min(size, 48 + (size - 48) * 0.002)


def peaked(size: int) -> float:
    """Return samples/s that fall again where the samples leave the cache."""
    return saturating(size) / (1 + max(0.0, math.log2(size / 64)) * 0.06)


def flat(_size: int) -> float:
    """Return samples/s that no size changes."""
    return 500.0


CURVES = {one.__name__: one for one in (saturating, linear, kinked, peaked, flat)}


@dataclass(frozen=True)
class Noise:
    """The noise of a machine: of each probe, of whole rounds, and probes that are disturbed."""

    probe: float
    """The standard deviation of a probe's logarithm."""
    round: float = 0.1
    """That of a whole round's."""
    disturbed: float = 0.0
    """The share of probes that something slows down, by a half on average."""

    def draw(self, random: Random) -> float:
        """Return the factor of one probe."""
        slowed = random.expovariate(2) if random.random() < self.disturbed else 0.0
        return math.exp(random.gauss(0, self.probe) - slowed)


NOISES = {
    "quiet": Noise(0.005),
    "usual": Noise(0.02),
    "loud": Noise(0.05),
    "disturbed": Noise(0.01, disturbed=0.15),
}


def run(
    sizes: Sequence[int],
    curve: Callable[[int], float],
    noise: Noise,
    random: Random,
    locked: int | None = None,
) -> tuple[Choice, Rounds]:
    """Time sizes until the choice is made."""
    rounds = Rounds()
    while wanted := sizes_to_time(sizes, rounds, locked):
        whole = math.exp(random.gauss(0, noise.round))
        rounds.add({size: curve(size) * whole * noise.draw(random) for size in wanted})
    return choose(sizes, rounds, locked), rounds
