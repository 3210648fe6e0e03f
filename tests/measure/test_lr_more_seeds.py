"""New seeds are tried before a learning rate may fail: all of them together decide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lr_bench import SEEDS, Bench

from harness.bounds.measured import judge

if TYPE_CHECKING:
    from harness.lockfile.profiles import LockedProfile
    from harness.measurement import Measurement

FAR = 1e-3
"""A locked rate that contradicts the bench's best, 1e-2."""
APART = {0: 1e-2, 1: 5e-2, 2: 2.2e-2, 3: 2.2e-2}
"""The best rates of four seeds, of which the first two lie so far apart that they disagree."""
MANY_STEPS = f"{SEEDS}, num_training: 3000"
"""Steps enough for longer horizons, which a disagreement brings."""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return a bench."""
    return Bench(tmp_path)


def fails(bench: Bench, found: Measurement, locked: LockedProfile) -> bool:
    """Return whether the learning rate fails by its lock."""
    violations = judge(found, locked, bench.case.bounds).violations
    return "learning_rate" in {violation.bound for violation in violations}


def drawn(found: Measurement) -> tuple[Any, Any]:
    """Return the learning rate and the refusal in the JSON beside the picture."""
    content = json.loads(Path(found.artifacts[1]).read_text(encoding="utf-8"))
    return content["learning_rate"], content["refusal"]


def test_as_many_new_seeds_are_tried_before_a_failure(bench: Bench) -> None:
    """The mean of all seeds is reported, with the curves and steps of all of them."""
    locked = bench.lock(learning_rate=FAR)
    bench.move({0: 1e-2, 1: 1e-2, 2: 1.5e-2, 3: 1.5e-2})
    found = bench.run(locked=locked)
    assert [0, 1, 2, 3] == bench.runner.seeds_tried
    assert found.learning_rates == pytest.approx((1e-2, 1e-2, 1.5e-2, 1.5e-2), rel=0.1)
    assert found.learning_rate == pytest.approx((1e-2 * 1.5e-2) ** 0.5, rel=0.1)
    assert {0, 1, 2, 3} == {curve.seed for curve in found.lr_curves}
    assert found.lr_steps == sum(len(curve.losses) for curve in found.lr_curves)
    assert (found.learning_rate, None) == drawn(found)
    assert fails(bench, found, locked)


def test_new_seeds_do_not_stop_where_they_agree(bench: Bench) -> None:
    """All of them are tried, though the first ones agree, for the same horizon."""
    bench.run("seeds: [0, 1, 2, 3]", bench.lock(learning_rate=FAR))
    assert [0, 1, 4, 5, 6, 7] == bench.runner.seeds_tried
    assert {30} == {steps for _, steps, _, _ in bench.runner.tried}


def test_new_seeds_may_move_it_back_into_the_range(bench: Bench) -> None:
    """If the new seeds agree with the lock, the mean of all seeds passes."""
    locked = bench.lock(learning_rate=6e-3)
    bench.move({0: 1e-2, 1: 1e-2, 2: 4e-3, 3: 4e-3})
    found = bench.run(locked=locked)
    assert [0, 1, 2, 3] == bench.runner.seeds_tried
    assert found.learning_rate == pytest.approx((1e-2 * 4e-3) ** 0.5, rel=0.1)
    assert not fails(bench, found, locked)
    assert () == found.warnings


def test_new_seeds_may_settle_a_disagreement_over_a_locked_rate(bench: Bench) -> None:
    """If the mean of all seeds confirms the lock, it counts; a warning tells the disagreement."""
    locked = bench.lock(learning_rate=2e-2)
    bench.move(APART)
    found = bench.run(MANY_STEPS, locked)
    assert [0, 1, 2, 3] == bench.runner.seeds_tried
    assert (4, None) == (len(found.learning_rates), found.lr_refusal)
    assert found.learning_rate == pytest.approx(2e-2, rel=0.1)
    assert found.warnings[0].startswith("the seeds disagree: over 30 steps they suggest 0.01, 0.0")
    assert (found.learning_rate, None) == drawn(found)
    assert not fails(bench, found, locked)


@pytest.mark.parametrize("failing", [False, True], ids=["contradict", "fail"])
def test_disagreement_stands_where_new_seeds_do_not_confirm_the_lock(
    bench: Bench, *, failing: bool
) -> None:
    """Whether all seeds contradict it or a new one fails: the first seeds' refusal is the result.

    The picture shows that, too, with the trials of all seeds.
    """
    locked = bench.lock(learning_rate=2e-2 if failing else FAR)
    bench.move(APART)
    bench.runner.failing_seeds = {3: "it broke"} if failing else {}
    found = bench.run(MANY_STEPS, locked)
    assert (None, (), (), None) == (
        found.learning_rate,
        found.learning_rates,
        found.learning_rate_range,
        found.lr_horizon,
    )
    assert "the seeds disagree" in (found.lr_refusal or "")
    assert failing == ("the new seeds gave no learning rate: it broke" in found.warnings)
    assert (None, found.lr_refusal) == drawn(found)
    assert {0, 1, 2} <= {curve.seed for curve in found.lr_curves}
    assert found.lr_steps == sum(len(curve.losses) for curve in found.lr_curves)
    assert fails(bench, found, locked)


def test_disagreement_without_a_locked_rate_is_refused_at_once(bench: Bench) -> None:
    """Without a locked learning rate, no new seeds are tried."""
    bench.move(APART)
    found = bench.run(MANY_STEPS)
    assert (None, [0, 1]) == (found.learning_rate, bench.runner.seeds_tried)
    assert "the seeds disagree" in (found.lr_refusal or "")


def test_new_seeds_are_ones_that_were_not_used(bench: Bench) -> None:
    """They are the smallest unused numbers, even if one seed is the largest possible."""
    bench.run(f"seeds: [1, {2**32 - 1}]", bench.lock(learning_rate=FAR))
    assert [1, 2**32 - 1, 0, 2] == bench.runner.seeds_tried


def test_new_seeds_without_an_answer_are_a_warning(bench: Bench) -> None:
    """If one fails, the first seeds' rate stands and is drawn, and a warning gives the reason."""
    locked = bench.lock(learning_rate=FAR)
    bench.runner.failing_seeds = {2: "it sets its learning rate itself"}
    found = bench.run(locked=locked)
    assert (2, ("the new seeds gave no learning rate: it sets its learning rate itself",)) == (
        len(found.learning_rates),
        found.warnings,
    )
    assert (found.learning_rate, None) == drawn(found)
    assert fails(bench, found, locked)


def test_new_seeds_that_had_no_time_are_a_warning(bench: Bench) -> None:
    """The first seeds' rate is judged alone, and the failure does not hide that."""
    locked = bench.lock(learning_rate=FAR)
    bench.runner.late_seeds = {2: 25}
    found = bench.run(f"{SEEDS}, max_seconds: 50", locked)
    assert (2, ("lr_range.max_seconds was over before the first of the seeds [2, 3] ended",)) == (
        len(found.learning_rates),
        found.warnings,
    )
    assert fails(bench, found, locked)


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 1.2e-2},
        {"learning_rate": FAR, "batch_size": 24},
        {"learning_rate": FAR, "recipe": "sha256:r2"},
        {"learning_rate": FAR, "lr_horizon": 100},
        {"learning_rate": FAR, "learning_rate_range": ()},
        {"learning_rate": None},
    ],
    ids=["within the range", "other batch", "other recipe", "too few steps", "no range", "no rate"],
)
def test_no_new_seeds_without_a_failure_at_hand(bench: Bench, changes: dict[str, Any]) -> None:
    """A result that would not fail, or cannot be compared, brings no new seeds."""
    bench.run(locked=bench.lock(**changes))
    assert {0, 1} >= set(bench.runner.seeds_tried)


def test_new_seeds_are_compared_in_values_of_the_attribute(bench: Bench) -> None:
    """The lock holds the attribute's value, so an equal value brings no new seeds."""
    bench.runner.attribute = "Net.lr"
    bench.runner.rates_of = lambda value: (value, 10 * value)
    bench.run(locked=bench.lock(learning_rate=1e-3))
    assert [0] == bench.runner.seeds_tried
