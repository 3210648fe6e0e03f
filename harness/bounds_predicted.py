"""Whether a prediction is within its bound, which is exact, and what has grown since it was locked. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from harness.bounds import Verdict, Violation, because, combine, judge_recipe, judge_workload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.lockfile import LockedProfile
    from harness.measurement import Measurement

LOCKED_HOLDERS = 16
"""As many holders of memory at the peak are locked, the largest ones: a lockfile is read by people."""


# Versions under which predictions are the same to the byte.
_DECIDING = ("torch", "rules")


class Growth(NamedTuple):
    """What holds more memory at the peak than it did, at the batch that was locked."""

    holder: str
    """`activation of layers.0`."""
    then_bytes: int
    now_bytes: int
    at_most: bool
    """It was not among the largest, which are locked: `then_bytes` is the most that it can have been."""

    @property
    def grown_bytes(self) -> int:
        """By how much, at least."""
        return self.now_bytes - self.then_bytes


def judge_prediction(prediction: Measurement, locked: LockedProfile | None) -> Verdict:
    """Compare a prediction with the locked one.

    Predictions repeat to the byte under one version of torch and of the rules: one sample less is a regression. Another
    torch's own operators may allocate otherwise, and other rules know CUDA otherwise, so that such two are not compared.
    """
    batch_size = prediction.max_batch_size
    if batch_size == 0:
        known = locked.predicted_batch_size if locked else None
        message = "by prediction no batch size that is allowed fits"
        return Verdict((Violation("predicted_batch_size", known, 0, known or 1, message),))
    if locked is None or locked.predicted_batch_size is None:
        message = (
            "the case was never locked" if locked is None else "the case was measured, but never predicted"
        )
        return Verdict((Violation("missing", None, batch_size, None, message),))
    parts = (
        judge_workload(prediction, locked),
        judge_recipe(prediction, locked),
        _judge_batch_size(prediction, locked, locked.predicted_batch_size),
    )
    return combine(parts)


def growth(prediction: Measurement, locked: LockedProfile) -> list[Growth]:
    """Return what holds more at the peak of the locked batch than it did, the largest growth first."""
    then = locked.predicted_peak
    # What is not in the lock held no more than the least that is, if the lock does not hold all.
    bound = min(then.values()) if len(then) >= LOCKED_HOLDERS else 0
    grown = [
        Growth(holder, then.get(holder, bound), now, holder not in then and bound > 0)
        for holder, now in prediction.predicted_at_locked.items()
    ]
    return sorted((one for one in grown if one.grown_bytes > 0), key=lambda one: -one.grown_bytes)


def _judge_batch_size(prediction: Measurement, locked: LockedProfile, known: int) -> Verdict:
    batch_size = prediction.max_batch_size
    change = f"predicted batch {batch_size} is {abs(batch_size / known - 1):.1%}"
    then, now = _deciding_versions(locked.predicted_with, prediction.predicted_with)
    if then and batch_size != known:
        warning = (
            f"{change} {'below' if batch_size < known else 'above'} the locked {known}, which was predicted with {then}, "
            f"this one with {now}: they are not compared; predict with what that one was, or lock this one"
        )
        return Verdict(warnings=(warning,))
    if batch_size < known:
        message = (
            f"{change} below the locked {known}; predictions are exact, so that no sample less is allowed"
            f"{because(prediction, locked)}"
        )
        return Verdict((Violation("predicted_batch_size", known, batch_size, known, message),))
    return Verdict(improvements=(f"{change} above the locked {known}",) if batch_size > known else ())


def _deciding_versions(locked: Mapping[str, str], predicted: Mapping[str, str]) -> tuple[str, str]:
    """Say, of both, which torch and which rules of prediction it was; empty where neither differs."""
    names = [name for name in _DECIDING if name in locked and locked[name] != predicted.get(name)]
    then, now = (", ".join(f"{name} {made.get(name)}" for name in names) for made in (locked, predicted))
    return then, now
