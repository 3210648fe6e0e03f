"""The bound on samples/s at the tuned batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bounds_values import BOUNDS, bounds_of
from measurements import locked, measurement

from harness.bounds.measured import judge
from harness.bounds.throughput import throughput_suspect
from harness.matrix.settings import BoundsSettings, ThroughputBound
from harness.measurement import Speed

if TYPE_CHECKING:
    from harness.measurement import Measurement

DROP = BoundsSettings(throughput=ThroughputBound(max_drop=0.1))
LOCKED = {"samples_per_second": 1000.0, "samples_per_second_spread": 10.0}
BATCH = measurement().batch_size


def timed(
    speed: float, again: float | None = None, *, size: int = BATCH, **changes: Any
) -> Measurement:
    """Return a measurement with a speed at the tuned batch, perhaps measured twice."""
    twice = () if again is None else (Speed(size, again, 10.0, 5),)
    return measurement(speeds=(Speed(size, speed, 10.0, 5),), speeds_again=twice, **changes)


@pytest.mark.parametrize(
    ("speed", "violated"), [(1000.0, False), (900.0, False), (899.0, True), (2000.0, False)]
)
def test_boundary(speed: float, *, violated: bool) -> None:
    """10% below 1000 is 900: less fails, and a gain never does."""
    verdict = judge(timed(speed), locked(**LOCKED), DROP)
    assert ["throughput"] * violated == bounds_of(verdict)


def test_speeds_are_not_judged_by_default() -> None:
    """Without the setting a slow run passes and says nothing."""
    verdict = judge(timed(1.0), locked(**LOCKED), BOUNDS)
    assert ((), ()) == (verdict.violations, verdict.warnings)


@pytest.mark.parametrize(("spread", "violated"), [(10.0, True), (100.0, False)])
def test_drop_within_the_noise_passes(spread: float, *, violated: bool) -> None:
    """A drop of 20% counts only if it is more than two standard deviations of both speeds."""
    known = locked(**LOCKED | {"samples_per_second_spread": spread})
    assert violated is throughput_suspect(timed(800.0), known, DROP)
    assert ["throughput"] * violated == bounds_of(judge(timed(800.0), known, DROP))


def test_both_measurements_must_agree() -> None:
    """Only a drop that was seen twice fails, and the message says both."""
    (violation,) = judge(timed(700.0, 710.0), locked(**LOCKED), DROP).violations
    assert violation.message == (
        f"700 ± 10 samples/s at batch {BATCH}, and 710 ± 10 measured again, are 30.0% below the "
        "locked 1000 ± 10; at least 900 are allowed (max_drop 10%)"
    )
    verdict = judge(timed(700.0, 990.0), locked(**LOCKED), DROP)
    assert () == verdict.violations
    warning = (
        f"samples/s at batch {BATCH} were 700 ± 10, where 1000 ± 10 are locked, but 990 ± 10 when "
        "they were measured again: no drop"
    )
    assert (warning,) == verdict.warnings


def test_gain_beyond_bound_and_noise_is_an_improvement() -> None:
    """A gain of more than the bound is reported, and one within it is not."""
    text = f"1200 ± 10 samples/s at batch {BATCH} is 20.0% above the locked 1000 ± 10"
    assert (text,) == judge(timed(1200.0), locked(**LOCKED), DROP).improvements
    assert () == judge(timed(1050.0), locked(**LOCKED), DROP).improvements


@pytest.mark.parametrize(
    ("found", "lock", "reason"),
    [
        ({}, {"samples_per_second_spread": None}, "the lock holds no samples/s that were timed"),
        ({"size": 2 * BATCH}, {}, f"batch {BATCH} is locked, and no batch size near it"),
        ({"made_with": {"processor": "B"}}, {"made_with": {"processor": "A"}}, "processor, A;"),
        ({"recipe": "sha256:other"}, {}, "the lock is stale"),
    ],
)
def test_speed_that_cannot_be_compared_is_a_warning(
    found: dict[str, Any], lock: dict[str, Any], reason: str
) -> None:
    """A lock without a speed, of another processor or another batch, is not judged by speed."""
    known, slow = locked(**LOCKED | lock), timed(1.0, **found)
    assert not throughput_suspect(slow, known, DROP)
    verdict = judge(slow, known, DROP)
    assert "throughput" not in bounds_of(verdict)
    (warning,) = (one for one in verdict.warnings if one.startswith("bounds.throughput"))
    assert reason in warning


def test_locked_batch_is_compared_though_another_is_tuned_now() -> None:
    """Of several sizes that were timed, the locked one counts."""
    speeds = (Speed(8, 1.0, 0.1, 5), Speed(BATCH, 1000.0, 10.0, 5))
    found = measurement(batch_size=8, speeds=speeds)
    assert "throughput" not in bounds_of(judge(found, locked(**LOCKED), DROP))
