"""Recommends the precision to train in, among cases that differ in nothing else. Pure.

The fastest one wins whose LR range test kept its signal: its loss fell, and was a number. Between
precisions whose speeds cannot be told apart, the one with the wider numbers wins.

Runs in pytest's process and in training scripts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.case_names import Scalar, case_id, label
from harness.measurement import Measurement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.measurement import Profile

AXIS = "precision"
"""The axis whose values are precisions, as Lightning's Trainer names them."""
RECOMMENDED = "recommended"
"""The value of the axis with which a training asks for the recommended precision."""

_SETTING = "trainer.precision"
_SHORT = {"64": "64-true", "32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}
# The widest first. bf16 stands before fp16, whose losses need scaling.
_WIDEST_FIRST = ("64-true", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true")
# A speed that was not timed is that of one probe of a few steps: two probes of one batch were 10%
# apart. Slower by at most this share is not slower.
_UNTOLD = 0.1
# Speeds that were timed in rounds may be told apart by more than this share, as those of two batch
# sizes may (`harness.throughput.choice`), and by two standard deviations of their difference.
_FLOOR, _DEVIATIONS = 0.02, 2.0
_WHOLE_FROM = 100


@dataclass(frozen=True)
class Recommendation:
    """The precision to take for one model, GPU and resolution, and the reason."""

    axes: dict[str, Scalar]
    """The axes of the cases, without `precision`."""
    precision: Scalar | None
    """None where there is none to recommend."""
    case_id: str | None
    """The id of its case."""
    reason: str
    samples_per_second: dict[str, float] = field(default_factory=dict)
    """The speed of each precision that may be taken, the fastest first."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Why the others may not."""

    def __str__(self) -> str:
        """Return one line: the cases, the recommendation, and what was left out."""
        which = case_id(self.axes)
        text = f"{which}: {self.reason}"
        others = "; ".join(f"{name}: {why}" for name, why in self.left_out.items())
        return f"{text}; left out: {others}" if others else text


def group_of(axes: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return the axes in which the cases of one recommendation agree."""
    return {axis: value for axis, value in axes.items() if axis != AXIS}


def recommend(
    axes: Mapping[str, Scalar],
    profiles: Mapping[Scalar, Profile],
    absent: Mapping[Scalar, str] | None = None,
) -> Recommendation:
    """Recommend one of the precisions of a group of cases.

    profiles: the values of each precision, locked or of this run.
    absent: why other precisions have no values.
    """
    left_out = {label(precision): why for precision, why in (absent or {}).items()}
    speeds: dict[Scalar, float] = {}
    for precision, profile in profiles.items():
        why = _why_not(precision, profile)
        if why is not None:
            left_out[label(precision)] = why
        elif profile.samples_per_second is not None:
            speeds[precision] = profile.samples_per_second
    order = sorted(speeds, key=lambda precision: -speeds[precision])
    shown = {label(precision): speeds[precision] for precision in order}
    if not order:
        return Recommendation(
            dict(axes), None, None, "no precision is recommended", left_out=left_out
        )
    fastest = profiles[order[0]]
    as_fast = [
        one
        for one in order
        if speeds[order[0]] - speeds[one] <= _untold(fastest, profiles[one]) * speeds[order[0]]
    ]
    taken = min(as_fast, key=_width)
    untold = _untold(fastest, profiles[taken])
    reason = _reason(taken, order, speeds, untold)
    return Recommendation(dict(axes), taken, profiles[taken].case_id, reason, shown, left_out)


def _untold(fastest: Profile, other: Profile) -> float:
    """Return by which share of the fastest a speed may be lower and still count as the same."""
    one, two = fastest.samples_per_second_spread, other.samples_per_second_spread
    if one is None or two is None or not fastest.samples_per_second:
        return _UNTOLD
    return max(_FLOOR, _DEVIATIONS * math.hypot(one, two) / fastest.samples_per_second)


def _reason(
    taken: Scalar, order: list[Scalar], speeds: Mapping[Scalar, float], untold: float
) -> str:
    """Return why a precision is recommended, beside the fastest or else the next one."""
    speed = _shown(speeds[taken])
    text = f"precision {label(taken)} is recommended: it trains {speed} samples/s"
    if taken != order[0]:
        return (
            f"{text}, and {label(order[0])} with {_shown(speeds[order[0]])} is not faster by more "
            f"than the {untold:.1%} that can be told"
        )
    return ", ".join([text, *(f"{label(one)} {_shown(speeds[one])}" for one in order[1:])])


def _shown(speed: float) -> str:
    return f"{speed:.0f}" if speed >= _WHOLE_FROM else f"{speed:.3g}"


def _why_not(precision: Scalar, profile: Profile) -> str | None:
    """Return why the values of a precision are no reason to take it; None if they are one."""
    name, by_trainer = _long(precision), _SETTING in profile.settings
    reasons = (
        (
            # A training with a loop of its own may take it as an argument.
            all(_long(value) != name for value in profile.settings.values()),
            'nothing refers to it: write trainer: {precision: "${precision}"}',
        ),
        (
            profile.source == "predicted" or profile.device.simulated,
            "predicted, so it has neither a speed nor a loss",
        ),
        (not profile.max_batch_size, "no batch size trains"),
        (
            by_trainer and name == "16-mixed" and profile.device.name == "cpu",
            "on the CPU Lightning trains bf16-mixed in its place",
        ),
        (
            profile.lr_refusal is not None,
            f"its LR range test was refused: {profile.lr_refusal}",
        ),
        (
            profile.learning_rate is None,
            "no LR range test ran, so nothing shows that it learns",
        ),
        (not _is_finite(profile), "its training loss is not a number"),
        (profile.samples_per_second is None, "no speed was measured"),
    )
    return next((why for holds, why in reasons if holds), None)


def _is_finite(profile: Profile) -> bool:
    """Return whether the loss at the largest batch was a number, as far as its probes are known."""
    return not isinstance(profile, Measurement) or all(
        probe.finite_loss
        for probe in profile.probes
        if probe.outcome == "fits" and probe.batch_size == profile.max_batch_size
    )


def _long(precision: Scalar) -> str:
    """Return a precision under its long name; Lightning has short ones."""
    return _SHORT.get(label(precision), label(precision))


def _width(precision: Scalar) -> int:
    """Return the place of a precision among all, the widest first."""
    name = _long(precision)
    return _WIDEST_FIRST.index(name) if name in _WIDEST_FIRST else len(_WIDEST_FIRST)
