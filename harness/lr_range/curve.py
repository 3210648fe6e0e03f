"""Analyses one seed's curve of an LR range test: its plateau, divergence, noise and drop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from operator import mul
from statistics import median, pstdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# `benchmarks/lr_rule.py` compared the constants on 16 configurations (4 tasks, SGD and AdamW, two
# batch sizes), in 3 ranges, with all 10 choices of 3 out of 5 seeds. It defines regret and spread.
# The numbers here are for 200 steps from 1e-6 to 10. The multiple of the noise (5 to 20 sigma) made
# no difference.
#
# 65% of the drop doubles the median regret (.008 to .016). 85% raises the 90th percentile from .12
# to .22 and the worst spread from x1.36 to x1.68.
_DROP_COMPLETED = 0.75
# The standard deviation of the Gaussian, in decades. With 0.25 the worst regret is .25 and the
# worst spread x1.41. With 0.3 they are .18 and x1.36. The order is the same in the other ranges.
# With 0.4 the median regret exceeds .010.
_SMOOTHING_DECADES = 0.3
# The reach of the Gaussian in standard deviations: weights beyond are below 0.3% of the largest.
_SMOOTHING_REACH = 3.5
# A loss has diverged this far above the plateau, in standard deviations of the noise.
_DIVERGED_SIGMAS = 10.0
# A loss has clearly risen this far above the plateau: as far as a drop has to be.
_RISEN_SIGMAS = 4.0
# The number of raw losses that distinguishes divergence from a spike.
_WINDOW = 5
# The standard deviation of a normal distribution over its median absolute deviation.
_MAD_TO_SIGMA = 1.4826
# The relative noise of float32 itself: the least noise of a plateau that does not move at all.
_RESOLUTION = 2.0**-20
# A minimum counts as reached at this share of the drop, because a loss at its lowest level wanders
# until the end.
_MINIMUM_REACHED = 0.98

Kernel = list[tuple[int, list[float]]]
"""Per step: the first step within reach of the Gaussian, and the weights from that step on."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The analysis of one seed's sweep; losses are in the workload's own unit."""

    not_finite_at: int | None
    """The step of the first loss that is not finite; None without one, and after divergence."""
    smoothed: tuple[float, ...]
    """The smoothed loss of each step, up to the step that diverged or was not finite."""
    initial_loss: float | None
    """The level of the plateau; None without a finite loss."""
    drop: float
    """The drop from the plateau to the smoothed minimum; 0 when the loss never fell."""
    noise: float
    """The standard deviation of one raw loss around the smoothed curve, up to the minimum."""
    suggestion: float | None
    """The learning rate at 75% of the drop; None when the loss never fell."""
    minimum_at: float
    """The point at which the loss has come down, as a fraction of the swept range in log space."""
    rises_at: float | None = None
    """The point at which the loss has clearly risen above the plateau; None if it never does."""

    @property
    def signal_to_noise(self) -> float:
        """The drop over the noise of one step."""
        return self.drop / self.noise if self.drop else 0.0


@dataclass(frozen=True, slots=True)
class _Plateau:
    """The first losses of a sweep, where the learning rate is too small to matter."""

    level: float
    sigma: float

    @classmethod
    def of(cls, losses: Sequence[float], num_training: int) -> _Plateau:
        first = losses[: _plateau_length(num_training)]
        level = median(first)
        return cls(level, max(_spread(first), _RESOLUTION * abs(level)))

    def ceiling(self, lowest: float) -> float:
        """Return the loss above which a sweep that came down to `lowest` has diverged."""
        return self.level + max(_DIVERGED_SIGMAS * self.sigma, self.level - lowest)


def finite_prefix(losses: Sequence[float | None]) -> list[float]:
    """Return the losses before the first that is None, NaN or infinite."""
    finite: list[float] = []
    for loss in losses:
        if loss is None or not math.isfinite(loss):
            break
        finite.append(float(loss))
    return finite


def divergence(losses: Sequence[float], num_training: int) -> tuple[int | None, float]:
    """Return the step at which finite losses diverged, or None, and the ceiling at that step.

    A sweep has diverged once the median of its last 5 losses is above the plateau by more than both
    its drop so far and 10 sigma of its noise. If it never diverges, the ceiling is that of the last
    step.
    """
    plateau = _Plateau.of(losses, num_training)
    lowest = plateau.level
    for step in range(_plateau_length(num_training), len(losses)):
        windowed = median(losses[step + 1 - _WINDOW : step + 1])
        lowest = min(lowest, windowed)
        if windowed > plateau.ceiling(lowest):
            return step, plateau.ceiling(lowest)
    return None, plateau.ceiling(lowest)


def make_kernel(logs: Sequence[float]) -> Kernel:
    """Return the Gaussian's weights for learning rates, given as their natural logs."""
    width = _SMOOTHING_DECADES * math.log(10)
    reach = _SMOOTHING_REACH * width
    kernel: Kernel = []
    start = end = 0
    for centre in logs:
        while logs[start] < centre - reach:
            start += 1
        while end < len(logs) and logs[end] <= centre + reach:
            end += 1
        kernel.append(
            (start, [math.exp(-0.5 * ((log - centre) / width) ** 2) for log in logs[start:end]])
        )
    return kernel


def analyse(logs: Sequence[float], kernel: Kernel, losses: Sequence[float | None]) -> Curve:
    """Analyse one seed's raw `losses` at the learning rates whose natural logs are `logs`."""
    finite = finite_prefix(losses)
    if not finite:
        return Curve(0 if losses else None, (), None, 0.0, 0.0, None, 0.0)
    stop, ceiling = divergence(finite, len(logs))
    swept = finite if stop is None else finite[: stop + 1]
    not_finite_at = len(finite) if stop is None and len(finite) < len(losses) else None
    clipped = [min(loss, ceiling) for loss in swept]
    smoothed = _smooth(clipped, kernel)
    plateau, minimum = _Plateau.of(finite, len(logs)), min(smoothed)
    level = plateau.level
    drop = level - minimum if level - minimum > _RESOLUTION * abs(level) else 0.0
    residuals = [raw - smooth for raw, smooth in zip(clipped, smoothed, strict=True)]
    fallen = smoothed.index(minimum) + 1
    noise = max(_mad(residuals[:fallen]), _RESOLUTION * max(abs(level), drop))
    if fallen <= _plateau_length(len(logs)):
        # A minimum among the first steps leaves too few residuals: a single one has no spread.
        noise = max(noise, plateau.sigma, _spread(clipped))
    rises_at = _rise(logs, smoothed, level + _RISEN_SIGMAS * noise)
    if not drop:
        return Curve(not_finite_at, smoothed, level, drop, noise, None, 0.0, rises_at)
    # A sweep that broke off is compared with the whole range, a merely short one with its own end.
    end = logs[len(swept) - 1] if stop is None and not_finite_at is None else logs[-1]
    reached = _crossing(logs, smoothed, level - _MINIMUM_REACHED * drop)
    return Curve(
        not_finite_at,
        smoothed,
        level,
        drop,
        noise,
        math.exp(_crossing(logs, smoothed, level - _DROP_COMPLETED * drop)),
        (reached - logs[0]) / (end - logs[0]) if end > logs[0] else 0.0,
        rises_at,
    )


def _rise(logs: Sequence[float], smoothed: Sequence[float], level: float) -> float | None:
    """Return where the smoothed loss first exceeds `level`, as a fraction of the whole range."""
    above = (
        log for log, loss in zip(logs, smoothed, strict=False) if loss > level and log > logs[0]
    )
    first = next(above, None)
    return None if first is None else (first - logs[0]) / (logs[-1] - logs[0])


def _plateau_length(num_training: int) -> int:
    return max(_WINDOW, num_training // 12)


def _spread(losses: Sequence[float]) -> float:
    """Return the standard deviation of one loss around a slope."""
    differences = [after - before for before, after in pairwise(losses)] or [0.0]
    # Differences cancel a slope. Their spread is sqrt(2) times that of one loss. A loss of low
    # precision may repeat itself so often that the MAD is 0 and the standard deviation is not.
    return (_mad(differences) or pstdev(differences)) / math.sqrt(2)


def _mad(values: Sequence[float]) -> float:
    """Return the standard deviation, estimated from the median absolute deviation."""
    middle = median(values)
    return _MAD_TO_SIGMA * median(abs(value - middle) for value in values)


def _smooth(losses: Sequence[float], kernel: Kernel) -> tuple[float, ...]:
    """Return the smoothed losses; at the ends, the average is over fewer neighbours.

    The weights are symmetric, so that no feature of the curve moves along the axis.
    """
    # The median of three comes first, so that a single low outlier is no minimum.
    calm = [median(losses[max(0, step - 1) : step + 2]) for step in range(len(losses))]
    smoothed = []
    for start, weights in kernel[: len(calm)]:
        values = calm[start : start + len(weights)]
        smoothed.append(math.fsum(map(mul, weights, values)) / math.fsum(weights[: len(values)]))
    return tuple(smoothed)


def _crossing(logs: Sequence[float], smoothed: Sequence[float], level: float) -> float:
    """Return the log of the learning rate at which `smoothed` first comes down to `level`.

    It is interpolated linearly in logs between two steps.
    """
    step = next(step for step, loss in enumerate(smoothed) if loss <= level)
    if step == 0:
        return logs[0]
    before, after = smoothed[step - 1], smoothed[step]
    return logs[step] - (logs[step] - logs[step - 1]) * (level - after) / (before - after)
