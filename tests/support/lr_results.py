"""Results of LR range tests, of trials whose losses are a formula of the learning rate."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lr_curves import fall, train

from harness.lr_range.found import Found, Result
from harness.lr_range.suggestion import geometric_sweep
from harness.lr_range.trials import Trials, rate_at

if TYPE_CHECKING:
    from collections.abc import Sequence

HORIZON, CONTROL = 30, -24
RATES = geometric_sweep(1e-6, 10.0, 57)
POINTS = range(-12, -3, 2)
"""Half decades from 1e-3 to 1e-1."""


def trials(best: float = 1e-2, points: Sequence[int] = POINTS) -> Trials:
    """Return the trials of a seed; at 1e-1 it diverges, if `best` is 1e-2."""
    losses = {point: tuple(train(rate_at(point), HORIZON, best=best)) for point in points}
    return Trials(HORIZON, CONTROL, losses)


FOUND = Result(
    found=Found.of([trials().range(), trials(1.2e-2).range()]),
    refusal=None,
    horizon=HORIZON,
    steps=357,
    trials={0: trials(), 7: trials(1.2e-2)},
    learning_rates=RATES,
    losses=tuple(fall(RATES, 1e-2)),
)
WARM = replace(FOUND, learning_rates=(), losses=())
REFUSED = replace(FOUND, found=None, refusal="the seeds disagree: " + "and so on " * 12)
