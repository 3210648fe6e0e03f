"""Trainings with known best rates: the loss after each step is a formula of the learning rate."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.lr_range.suggestion import diverged
from harness.lr_range.trials import can_stop

if TYPE_CHECKING:
    from collections.abc import Sequence

INITIAL = 2.0


@dataclass
class Valley:
    """Trainings whose loss falls from 2 towards 1: the faster, the higher the rate, up to a cliff.

    After a sum `s` of rates it is 1 + exp(-(s / drop_at) ** steepness). Above the cliff it rises.
    """

    drop_at: float = 0.1
    """The sum of learning rates at which the loss has made 63% of its drop."""
    steepness: float = 1.0
    """With more than 1, the loss rests on a plateau first."""
    cliff: float = 0.1
    """The learning rate above which the training diverges."""
    noise: float = 0.0
    """The standard deviation of each loss; trainings of one seed share it, as their batches."""
    moved: dict[int, float] = field(default_factory=dict)
    """By seed, a factor on both `drop_at` and `cliff`."""
    lowest_loss: float = 1.0
    asked: list[tuple[str, int, float, int]] = field(default_factory=list)
    """Kind, seed, first learning rate and number of steps of each training."""

    def losses(self, seed: int, learning_rates: Sequence[float]) -> list[float]:
        """Return the loss of each step."""
        jitter = random.Random(seed)  # noqa: S311 - noise, not cryptography
        scale = self.moved.get(seed, 1.0)
        found, total, risen = [], 0.0, 0.0
        for rate in learning_rates:
            progress = (total / (scale * self.drop_at)) ** self.steepness
            drop = (INITIAL - self.lowest_loss) * math.exp(-progress)
            found.append(self.lowest_loss + drop + risen + self.noise * jitter.gauss(0, 1))
            total += rate
            risen += 1.0 if rate > scale * self.cliff else 0.0
        return found

    def sweep(self, seed: int, learning_rates: Sequence[float]) -> list[float]:
        """Return the losses of a sweep, as a probe does."""
        self.asked.append(("sweep", seed, learning_rates[0], len(learning_rates)))
        losses = self.losses(seed, learning_rates)
        for step in range(1, len(losses) + 1):
            if diverged(losses[:step], len(learning_rates)):
                return losses[:step]
        return losses

    def whole_sweep(self, seed: int, learning_rates: Sequence[float]) -> list[float]:
        """Return the losses of a sweep that goes on to its end, as a probe does."""
        self.asked.append(("whole sweep", seed, learning_rates[0], len(learning_rates)))
        return self.losses(seed, learning_rates)

    def trial(
        self, seed: int, learning_rate: float, num_steps: int, ceiling: float | None
    ) -> list[float]:
        """Return the losses of a trial, as a probe does."""
        self.asked.append(("trial", seed, learning_rate, num_steps))
        losses = self.losses(seed, [learning_rate] * num_steps)
        for step in range(1, num_steps + 1):
            if can_stop(losses[:step], ceiling):
                return losses[:step]
        return losses


@dataclass
class Breaking(Valley):
    """A valley above whose cliff the second loss is not finite; above a cliff of 0 none is."""

    def losses(self, seed: int, learning_rates: Sequence[float]) -> list[float]:
        """Return the loss of each step."""
        return [
            math.nan if rate > self.cliff and (step or not self.cliff) else loss
            for step, (rate, loss) in enumerate(
                zip(learning_rates, super().losses(seed, learning_rates), strict=True)
            )
        ]
