"""Tells by trainings at constant rates how far a planted change moved the best learning rate."""

from __future__ import annotations

import json
import math
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from harness.lr_range.trials import point_of, rate_at
from learning_rates.oracles import Oracle, Run
from learning_rates.planted import Planted
from profiles.workloads import Digits

if TYPE_CHECKING:
    from harness.matrix.case import Case

_NUM_STEPS = 100
_LAST_STEPS = 20
_SEEDS = (100, 101)
_HALF_DECADE = 2
_LOWEST, _HIGHEST = -20, 6
# Rates that lose at most this share of the drop are as good.
_AS_GOOD = 0.1
# Beyond a loss that rose by so much, higher rates are not tried.
_DIVERGED = 3.0
# Once a rate has brought the loss down by this share, lower ones that bring it down by little are
# the end.
_LEARNED = 0.2
_HARDLY = 0.1


def moved_by(
    oracles: dict[str, Any],
    case: Case,
    before: dict[str, Any],
    after: dict[str, Any],
    batch_size: int,
) -> float | None:
    """Return the best rate after a change over that before; None where nothing is learned.

    Trains what `oracles` lacks.
    """
    best = []
    for arguments in (before, after):
        name = f"{case.id} {json.dumps(arguments)}"
        if name not in oracles:
            regrets = _oracle(case, arguments, batch_size).regrets
            oracles[name] = {f"{rate:.3g}": round(lost, 4) for rate, lost in regrets.items()}
        if min(oracles[name].values()) > _AS_GOOD:
            return None
        best.append(_middle({float(rate): lost for rate, lost in oracles[name].items()}))
    return float(f"{best[1] / best[0]:.3g}")


def _middle(regrets: dict[float, float]) -> float:
    """Return the middle, in log space, of the rates around the best that are as good."""
    rates = sorted(regrets)
    points = [point_of(rate) for rate in rates]
    lost = [regrets[rate] for rate in rates]
    best = lost.index(min(lost))
    ends = []
    for step in (-1, 1):
        here = best
        while 0 <= here + step < len(lost) and lost[here + step] <= _AS_GOOD:
            here += step
        end = points[here]
        if 0 <= here + step < len(lost):
            share = (_AS_GOOD - lost[here]) / (lost[here + step] - lost[here])
            end += max(0.0, share) * (points[here + step] - points[here])
        ends.append(end)
    return rate_at(fmean(ends))


def _oracle(case: Case, arguments: dict[str, Any], batch_size: int) -> Oracle:
    """Train at half decades, from the highest down until hardly anything is learned any more."""
    runs: list[Run] = []
    for seed in _SEEDS:
        most = 0.0
        for point in range(_HIGHEST, _LOWEST - 1, -_HALF_DECADE):
            losses = _train(case, arguments, batch_size, seed, rate_at(point))
            whole = len(losses) == _NUM_STEPS
            final = fmean(losses[-_LAST_STEPS:]) if whole else None
            runs.append(Run(seed, rate_at(point), losses[0], final))
            drop = 0.0 if final is None else losses[0] - final
            most = max(most, drop)
            if most > _LEARNED * losses[0] and drop < _HARDLY * most:
                break
    return Oracle(runs)


def _train(
    case: Case, arguments: dict[str, Any], batch_size: int, seed: int, rate: float
) -> list[float]:
    """Return the losses at a constant rate, in the batches' order of the seed."""
    module_spec = case.workload["module"]
    assert module_spec is not None, "the reference cases have modules"
    init_args = module_spec["init_args"]
    torch.manual_seed(seed)
    module = Planted(**{**init_args, **arguments, "lr": rate})
    module.train()
    optimizer = module.configure_optimizers()
    data = Digits(init_args["resolution"], batch_size)
    data.setup("fit")
    losses: list[float] = []
    while True:
        for batch in data.train_dataloader():
            if len(batch[0]) < batch_size:
                continue
            optimizer.zero_grad()
            loss = module.training_step(batch, 0)
            loss.backward()  # type: ignore[no-untyped-call] # torch's own signature
            optimizer.step()
            losses.append(loss.item())
            stopped = not math.isfinite(losses[-1]) or (
                len(losses) >= 5 and min(losses[-5:]) > _DIVERGED * losses[0]
            )
            if stopped or len(losses) == _NUM_STEPS:
                return losses
