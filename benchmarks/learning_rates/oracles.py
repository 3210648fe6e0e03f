"""Oracles: what training at each constant learning rate comes to, and what a rate loses of it."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from harness.lr_range.trials import point_of, rate_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from learning_rates.recorder import Recorder
    from learning_rates.tasks import Task

NUM_STEPS = 200
SEEDS = (100, 101, 102)
"""Apart from the seeds that the rules see."""
# The loss of a training is the mean over its last steps.
_LAST_STEPS = 20
# The lowest and the highest point of the grid of quarter decades; 0 is a rate of 1.
_GRIDS = {"sgd": (-14, 2), "adam": (-18, 0), "adamw": (-18, 0)}
_FINE_TUNED_GRIDS = {"sgd": (-16, 0), "adamw": (-20, -2)}


@dataclass(frozen=True)
class Run:
    """A training at a constant rate; without a finite loss at the end it has None."""

    seed: int
    learning_rate: float
    initial_loss: float
    final_loss: float | None


class Oracle:
    """The regret of learning rates: (loss - best) / (initial loss - best), the mean over the seeds.

    0 is the best rate of the grid, and 1 means that nothing was learned; a training that ends worse
    than that counts as 1, as does each where none learns. Between two rates of the grid the regret
    is linear in the log of the rate, and outside of the grid it is that of the nearest end.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        lost: dict[float, list[float]] = {}
        for seed in sorted({run.seed for run in runs}):
            of_seed = [run for run in runs if run.seed == seed]
            best = min(run.final_loss for run in of_seed if run.final_loss is not None)
            for run in of_seed:
                final = math.inf if run.final_loss is None else run.final_loss
                drop = run.initial_loss - best
                share = min(1.0, (final - best) / drop) if drop > 0 else 1.0
                lost.setdefault(run.learning_rate, []).append(share)
        self.regrets: Mapping[float, float] = {rate: fmean(lost[rate]) for rate in sorted(lost)}

    def regret(self, learning_rate: float) -> float:
        """Return the share of the achievable drop that is lost at a learning rate."""
        grid = list(self.regrets)
        right = min(max(bisect_right(grid, learning_rate), 1), len(grid) - 1)
        low, high = grid[right - 1], grid[right]
        part = (point_of(learning_rate) - point_of(low)) / (point_of(high) - point_of(low))
        part = min(max(part, 0.0), 1.0)
        return (1 - part) * self.regrets[low] + part * self.regrets[high]

    @property
    def best(self) -> float:
        """The learning rate of the grid with the lowest regret."""
        return min(self.regrets, key=lambda rate: self.regrets[rate])


def oracle_of(task: Task, recorder: Recorder) -> Oracle:
    """Return the oracle of a task, from trainings at constant rates or after its warm-up."""
    low, high = (_FINE_TUNED_GRIDS if task.fine_tuned else _GRIDS)[task.optimizer]
    runs = []
    for seed in SEEDS:
        for point in range(low, high + 1):
            recorded = recorder.constant(seed, point, NUM_STEPS, task.warm_up)
            whole = len(recorded) == NUM_STEPS and math.isfinite(recorded[-1])
            final = fmean(recorded[-_LAST_STEPS:]) if whole else None
            runs.append(Run(seed, rate_at(point), recorded[0], final))
    return Oracle(runs)
