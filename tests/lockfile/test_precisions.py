"""Which precision is recommended, by speeds and learning rates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from measurements import CPU, H200, locked, measurement

from harness.lockfile.precisions import recommend
from harness.measurement import DeviceIdentity, Probe

if TYPE_CHECKING:
    from harness.case_names import Scalar
    from harness.lockfile.profiles import LockedProfile

AXES: dict[str, Scalar] = {"model": "resnet18", "gpu": "h200", "resolution": 224}


def of(precision: str, speed: float | None = 1000.0, **changes: Any) -> LockedProfile:
    """Return a profile of a precision that trains with this speed."""
    values = {
        "settings": {"trainer.precision": precision},
        "samples_per_second": speed,
        "axes": AXES | {"precision": precision},
    }
    return locked(**(values | changes))


def taken(*profiles: LockedProfile) -> Any:
    """Return the precision that is recommended among profiles."""
    return recommend(AXES, {one.axes["precision"]: one for one in profiles}).precision


def test_fastest_is_recommended_with_the_speeds() -> None:
    """Its case is named, and the others' speeds stand beside it."""
    found = recommend(
        AXES, {"32-true": of("32-true", 640.0), "bf16-mixed": of("bf16-mixed", 1180.4)}
    )
    expected = (
        "resnet18-h200-224: precision bf16-mixed is recommended: it trains 1180 samples/s, "
        "32-true 640"
    )
    assert (expected, "resnet18-h200-224-bf16-mixed") == (str(found), found.case_id)
    assert ["bf16-mixed", "32-true"] == list(found.samples_per_second)


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [
        ({"32-true": 901.0, "bf16-mixed": 1000.0}, "32-true"),
        ({"32-true": 899.0, "bf16-mixed": 1000.0}, "bf16-mixed"),
        ({"bf16-true": 1000.0, "16-mixed": 1000.0, "bf16-mixed": 1000.0}, "bf16-mixed"),
        ({"bf16-true": 1000.0, "bf16-mixed": 950.0, "32-true": 100.0}, "bf16-mixed"),
        ({"32": 1000.0, "bf16": 1000.0}, "32"),
    ],
)
def test_widest_wins_among_those_that_are_as_fast(speeds: dict[str, float], expected: str) -> None:
    """A speed of one probe that is less than a tenth lower cannot be told from the best."""
    assert expected == taken(*(of(name, speed) for name, speed in speeds.items()))


@pytest.mark.parametrize(
    ("spread", "speed", "expected"),
    [
        # Two deviations of the difference are 2 x 1.41 x 10.
        (10.0, 971.0, "bf16-mixed"),
        (10.0, 972.0, "32-true"),
        # Never less than 2%.
        (0.0, 979.0, "bf16-mixed"),
        (0.0, 980.0, "32-true"),
        (None, 950.0, "32-true"),
    ],
)
def test_measured_spread_decides_which_speeds_are_the_same(
    spread: float | None, speed: float, expected: str
) -> None:
    """Speeds that were timed in rounds are told apart by their deviation, others by a tenth."""
    timed = {"samples_per_second_spread": spread}
    assert expected == taken(of("32-true", speed, **timed), of("bf16-mixed", 1000.0, **timed))


def test_wider_one_is_recommended_beside_the_fastest() -> None:
    """The line says why the fastest is not taken."""
    found = recommend(AXES, {"32-true": of("32-true", 95.0), "bf16-mixed": of("bf16-mixed", 100.0)})
    assert (
        "precision 32-true is recommended: it trains 95 samples/s, and bf16-mixed with 100 is not "
        "faster by more than the 10.0% that can be told"
    ) == found.reason


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"learning_rate": None, "lr_refusal": "the loss has not fallen"},
            "its LR range test was refused: the loss has not fallen",
        ),
        (
            {"learning_rate": None},
            "no LR range test ran, so nothing shows that it learns",
        ),
        ({"samples_per_second": None}, "no speed was measured"),
        ({"source": "predicted"}, "predicted, so it has neither a speed nor a loss"),
        (
            {"device": DeviceIdentity("simulated NVIDIA H200", H200.memory_bytes)},
            "predicted, so it has neither a speed nor a loss",
        ),
        ({"settings": {}}, 'nothing refers to it: write trainer: {precision: "${precision}"}'),
        (
            {"settings": {"trainer.precision": "32-true"}},
            'nothing refers to it: write trainer: {precision: "${precision}"}',
        ),
    ],
)
def test_precision_without_signal_or_speed_is_left_out(changes: dict[str, Any], why: str) -> None:
    """The slower one is recommended then, and the reason is told."""
    faster = of("bf16-mixed", **{"samples_per_second": 2000.0} | changes)
    found = recommend(AXES, {"32-true": of("32-true"), "bf16-mixed": faster})
    assert ("32-true", {"bf16-mixed": why}) == (found.precision, found.left_out)


def test_16_mixed_on_the_cpu_is_left_out() -> None:
    """Lightning trains another precision in its place."""
    found = recommend(AXES, {"16-mixed": of("16-mixed", device=CPU)})
    expected = (
        "resnet18-h200-224: no precision is recommended; left out: 16-mixed: on the CPU Lightning "
        "trains bf16-mixed in its place"
    )
    assert (None, expected) == (found.precision, str(found))


def test_training_with_a_loop_of_its_own_may_take_it_as_an_argument() -> None:
    """Any setting may hold it, and fp16 on the CPU is then what the loop makes of it."""
    own = of("16-mixed", device=CPU, settings={"training.init_args.precision": "16-mixed"})
    assert "16-mixed" == recommend(AXES, {"16-mixed": own}).precision


def test_loss_that_is_no_number_is_left_out() -> None:
    """A kept learning rate does not help where this run's probe saw the loss overflow."""
    probe = Probe(3712, "fits", finite_loss=False)
    overflowing = measurement(
        settings={"trainer.precision": "16-mixed"}, probes=(probe,), axes=AXES | {"precision": "x"}
    )
    found = recommend(AXES, {"16-mixed": overflowing})
    assert {"16-mixed": "its training loss is not a number"} == found.left_out


def test_cases_without_values_are_named() -> None:
    """They were skipped, failed, or neither run nor locked."""
    found = recommend(AXES, {"32-true": of("32-true")}, {"bf16-true": "skipped: no bf16 here"})
    assert ("32-true", {"bf16-true": "skipped: no bf16 here"}) == (found.precision, found.left_out)
