"""Makes curves of an LR range test: synthetic ones with known answers, and recorded ones."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING

from harness.lr_range.suggestion import geometric_sweep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.lr_range.suggestion import Suggestion

LR_MIN, LR_MAX = 1e-6, 10.0
DECADES = 7
SMOOTHING_DECADES = 0.3
REAL = json.loads((Path(__file__).parents[1] / "data" / "lr_sweeps.json").read_text())


def sweep(num_training: int = 200) -> tuple[float, ...]:
    """Return the learning rates of the default range in `num_training` steps."""
    return geometric_sweep(LR_MIN, LR_MAX, num_training)


def fall(
    rates: Sequence[float], centre: float, *, width: float = 0.5, noise: float = 0.0, seed: int = 0
) -> list[float]:
    """Return losses from 2 to 1, which fall along a normal CDF of standard deviation `width`.

    `centre` is a learning rate; `width` is in decades.
    """
    jitter = random.Random(seed)  # noqa: S311 - noise, not cryptography
    shape = NormalDist(math.log10(centre), width)
    return [2 - shape.cdf(math.log10(rate)) + noise * jitter.gauss(0, 1) for rate in rates]


def train(
    rate: float,
    num_steps: int,
    *,
    best: float,
    width: float = 0.5,
    noise: float = 0.0,
    seed: int = 0,
    slowness: float = 5.0,
) -> list[float]:
    """Return the losses of a training at a constant rate: they fall from 2 towards 1.

    The drop is largest at `best`, and smaller by a normal distribution with `width` decades on both
    sides of it. 1.5 widths above, the loss explodes. It takes `slowness` steps for most of the
    drop. The noise is that of the batches, so it is the same at every rate.
    """
    jitter = random.Random(seed)  # noqa: S311 - noise, not cryptography
    decades = math.log10(rate / best)
    drop = math.exp(-((decades / width) ** 2) / 2)
    return [
        2 * 1.5**step
        if decades > 1.5 * width
        else 2 - drop * (1 - math.exp(-step / slowness)) + noise * jitter.gauss(0, 1)
        for step in range(num_steps)
    ]


def three_quarters(centre: float, width: float = 0.5) -> float:
    """Return the 75% point of `fall` after smoothing, which convolves two Gaussians into one."""
    return float(
        10 ** NormalDist(math.log10(centre), math.hypot(width, SMOOTHING_DECADES)).inv_cdf(0.75)
    )


def at(fraction: float) -> float:
    """Return the learning rate at a fraction of the default range."""
    return LR_MIN * 10 ** (DECADES * fraction)


def centre_for(suggestion: float, width: float) -> float:
    """Return the centre of the `fall` whose 75% point is `suggestion`."""
    return suggestion**2 / three_quarters(suggestion, width)


def real(name: str) -> tuple[tuple[float, ...], list[list[float | None]]]:
    """Return the learning rates and the losses of a recorded workload; None is not finite."""
    recorded = REAL[name]
    rates = geometric_sweep(recorded["lr_min"], recorded["lr_max"], recorded["num_training"])
    return rates, recorded["losses_per_seed"]


def refusal_of(suggestion: Suggestion) -> str:
    """Return the text of a refusal."""
    assert suggestion.learning_rate is None
    assert suggestion.refusal is not None
    return suggestion.refusal
