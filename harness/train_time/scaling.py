"""Carries a learning rate and a number of epochs over to another batch size, by rules of others.

Each docstring says what its rule keeps constant, and where it comes from. None of them is measured:
a batch size that is profiled has a learning rate of its own.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

from harness.errors import HarnessError

Rule = Literal["linear", "sqrt"]
"""The rules of `scale_learning_rate`."""


def scale_learning_rate(lr: float, from_batch: int, to_batch: int, rule: Rule = "linear") -> float:
    """Return the learning rate for `to_batch`, given the one for `from_batch`.

    `linear` keeps learning rate / batch size constant: k times the batch, k times the rate (Goyal
    et al. 2017, arXiv:1706.02677, for SGD). `sqrt` keeps learning rate / square root of the batch
    size constant (Krizhevsky 2014, arXiv:1404.5997, by the variance of a step; Malladi et al. 2022,
    arXiv:2205.10287, for Adam and RMSprop).

    Both are for a fixed number of epochs, and both end where a larger rate no longer trains. The
    result is not measured.

    Raises HarnessError for values that are not allowed, and names those that are.
    """
    if not _is_number(lr) or not 0 < lr < math.inf:
        raise HarnessError(f"lr={lr!r}: the learning rate is a number above 0")
    ratio = _count("to_batch", to_batch) / _count("from_batch", from_batch)
    if rule not in get_args(Rule):
        raise HarnessError(f"rule={rule!r}: the rule is {' or '.join(map(repr, get_args(Rule)))}")
    return lr * (ratio if rule == "linear" else math.sqrt(ratio))


def calculate_adjusted_epochs(
    reference_epochs: int, reference_batch: int, actual_batch: int, min_epochs: int = 50
) -> int:
    """Return reference_epochs x reference_batch / actual_batch, and at least `min_epochs`.

    What stays constant is epochs x batch size. Neither the samples nor the optimizer updates do:
    at k times the batch, a training sees 1/k of the samples in 1/k^2 of the updates. `min_epochs`
    keeps large batches from ending too early, and holds whatever the reference is: set
    `min_epochs=1` for trainings that are meant to be shorter. A convention, not a result: fewer
    epochs at a larger batch is what Hoffer et al. 2017 (arXiv:1705.08741) warn of.
    `epochs_for_equal_updates` keeps the updates; the same number of epochs keeps the samples (Goyal
    et al. 2017, arXiv:1706.02677).

    A part of an epoch is rounded up to a whole one. Raises HarnessError unless every value is a
    whole number from 1.
    """
    least = _count("min_epochs", min_epochs)
    return max(least, _scaled(reference_epochs, reference_batch, actual_batch))


def epochs_for_equal_updates(reference_epochs: int, reference_batch: int, actual_batch: int) -> int:
    """Return reference_epochs x actual_batch / reference_batch.

    What stays constant is the number of optimizer updates: at k times the batch an epoch has 1/k of
    the updates, so the training takes k times the epochs, and sees k times the samples. That is the
    regime of Hoffer et al. 2017 (arXiv:1705.08741), and what Shallue et al. 2019 (arXiv:1811.03600)
    call a budget of steps.

    A part of an epoch is rounded up to a whole one, so there are never fewer updates, but for the
    last batch of an epoch where it is not full. Raises HarnessError unless every value is a whole
    number from 1.
    """
    return _scaled(
        reference_epochs,
        actual_batch,
        reference_batch,
        names=("reference_epochs", "actual_batch", "reference_batch"),
    )


def _scaled(
    epochs: int,
    numerator: int,
    denominator: int,
    names: tuple[str, str, str] = ("reference_epochs", "reference_batch", "actual_batch"),
) -> int:
    """Return epochs x numerator / denominator, rounded up in whole numbers."""
    values = zip(names, (epochs, numerator, denominator), strict=True)
    factor, above, below = [_count(name, value) for name, value in values]
    return -(-factor * above // below)


def _count(name: str, value: Any) -> int:
    """Return a whole number from 1, also one of NumPy's; refuse anything else."""
    is_whole = hasattr(value, "__index__") and not isinstance(value, bool)
    if not is_whole or value.__index__() < 1:
        raise HarnessError(f"{name}={value!r}: a whole number from 1 is needed")
    return int(value.__index__())


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
