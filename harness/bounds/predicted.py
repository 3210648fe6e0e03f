"""Judges a prediction by the locked one, exactly, and finds what has grown since. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from harness.bounds.causes import because, judge_recipe, judge_workload
from harness.bounds.verdict import Verdict, Violation
from harness.breakdown.shares import predicted_holders
from harness.breakdown.table import OTHERS, kind_of, module_of
from harness.case_names import label
from harness.measurement import LOCKED_HOLDERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.lockfile.profiles import LockedProfile
    from harness.measurement import Measurement

# Predictions are equal to the byte if both of these versions are equal. Locks that were made by
# other means have other names.
_DECIDING = ("torch", "simulated")


class Growth(NamedTuple):
    """A holder of memory that has grown since the lock, at the peak of the locked batch."""

    holder: str
    """`activation of layers.0`."""
    then_bytes: int
    now_bytes: int
    at_most: bool
    """Whether `then_bytes` is an upper limit, because only larger holders were locked."""
    line: str = ""
    """The line of the user's code, `model.py:33`; empty if none is known."""

    @property
    def grown_bytes(self) -> int:
        """The growth, or the least that it can be if `at_most`."""
        return self.now_bytes - self.then_bytes


def judge_prediction(prediction: Measurement, locked: LockedProfile | None) -> Verdict:
    """Judge a prediction by the locked one.

    Predictions repeat to the byte under one version of torch and of the simulation, so one sample
    less is a regression. Predictions under different versions are not compared: the operators of
    another torch may allocate differently, and another simulation may answer them differently.
    """
    batch_size = prediction.max_batch_size
    if batch_size == 0:
        known = locked.predicted_batch_size if locked else None
        message = "no allowed batch size is predicted to fit"
        return Verdict((Violation("predicted_batch_size", known, 0, known or 1, message),))
    if locked is None or locked.predicted_batch_size is None:
        message = (
            "the case was never locked"
            if locked is None
            else "the case was measured, but never predicted"
        )
        return Verdict((Violation("missing", None, batch_size, None, message),))
    parts = (
        judge_workload(prediction, locked),
        judge_recipe(prediction, locked),
        _judge_batch_size(prediction, locked, locked.predicted_batch_size),
        _judge_inference(prediction, locked),
        _judge_buckets(prediction, locked),
    )
    return Verdict.combined(parts)


def growth(prediction: Measurement, locked: LockedProfile) -> list[Growth]:
    """Return the holders that have grown at the peak of the locked batch, largest growth first."""
    then = predicted_holders(locked)
    grown = []
    for holder, now in prediction.predicted_at_locked.items():
        bound = 0 if holder in then else at_most(then, holder)
        line = prediction.predicted_lines.get(holder, "")
        grown.append(Growth(holder, then.get(holder, bound), now, bound > 0, line))
    return sorted((one for one in grown if one.grown_bytes > 0), key=lambda one: -one.grown_bytes)


def at_most(then: Mapping[str, int], holder: str) -> int:
    """Return what a holder that is not named can have held, in bytes: it was one of the others.

    then: bytes of the largest holders; the others of each kind together, or left out where there
        are as many as a lock keeps.
    """
    others = {kind_of(name): size for name, size in then.items() if module_of(name) == OTHERS}
    if others:
        named = [size for name, size in then.items() if module_of(name) not in ("", OTHERS)]
        return min([others.get(kind_of(holder), 0), *named])
    return min(then.values()) if len(then) >= LOCKED_HOLDERS else 0


def _judge_inference(prediction: Measurement, locked: LockedProfile) -> Verdict:
    """Judge the sizes of inference, as exactly; those that were measured are no predictions."""
    then, _ = _deciding_versions(locked.predicted_with, prediction.predicted_with)
    if locked.source != "predicted" or then:
        return Verdict()
    violations, improvements = [], []
    for function, known in locked.inference_batch_sizes.items():
        size = prediction.inference_batch_sizes.get(function)
        if size is None or size == known:
            continue
        change = f"safe batch {size} of {function} is {abs(size / known - 1):.1%}"
        if size > known:
            improvements.append(f"{change} above the locked {known}")
            continue
        message = f"{change} below the locked {known}{because(prediction, locked)}"
        violations.append(Violation("inference_batch_size", known, size, known, message))
    return Verdict(tuple(violations), tuple(improvements))


def _judge_buckets(prediction: Measurement, locked: LockedProfile) -> Verdict:
    """Judge the largest batch of each bucket, as exactly; the last one's is the case's own."""
    versions, _ = _deciding_versions(locked.predicted_with, prediction.predicted_with)
    if locked.source != "predicted" or versions:
        return Verdict()
    then = {bucket.edge: bucket.max_batch_size for bucket in locked.buckets}
    violations, improvements = [], []
    for bucket in prediction.buckets[:-1]:
        known, size = then.get(bucket.edge, bucket.max_batch_size), bucket.max_batch_size
        change = f"predicted batch {size} of bucket {label(bucket.edge)} is"
        if size > known:
            improvements.append(f"{change} {size / known - 1:.1%} above the locked {known}")
        elif size < known:
            message = (
                f"{change} {1 - size / known:.1%} below the locked {known}"
                f"{because(prediction, locked)}"
            )
            violations.append(Violation("bucket_batch_size", known, size, known, message))
    return Verdict(tuple(violations), tuple(improvements))


def _judge_batch_size(prediction: Measurement, locked: LockedProfile, known: int) -> Verdict:
    batch_size = prediction.max_batch_size
    change = f"predicted batch {batch_size} is {abs(batch_size / known - 1):.1%}"
    then, now = _deciding_versions(locked.predicted_with, prediction.predicted_with)
    if then and batch_size != known:
        direction = "below" if batch_size < known else "above"
        warning = (
            f"{change} {direction} the locked {known}, but that was predicted with {then} and this "
            f"with {now}, so they are not compared. Predict with {then}, or lock the new value"
        )
        return Verdict(warnings=(warning,))
    if batch_size < known:
        message = (
            f"{change} below the locked {known}; predictions are exact, so not one sample less is "
            f"allowed{because(prediction, locked)}"
        )
        return Verdict((Violation("predicted_batch_size", known, batch_size, known, message),))
    return Verdict(
        improvements=(f"{change} above the locked {known}",) if batch_size > known else ()
    )


def _deciding_versions(locked: Mapping[str, str], predicted: Mapping[str, str]) -> tuple[str, str]:
    """Return the versions of both that forbid a comparison; two empty texts if none does."""
    names = [name for name in _DECIDING if locked.get(name) != predicted.get(name)]
    then, now = (
        ", ".join(f"{name} {made[name]}" if name in made else f"no {name} GPU" for name in names)
        for made in (locked, predicted)
    )
    return then, now
