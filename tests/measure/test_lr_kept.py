"""A learning rate that is kept as it is locked, and when the range test runs again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from lr_bench import Bench

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return a bench."""
    return Bench(tmp_path)


def test_never_keeps_the_locked_learning_rate(bench: Bench) -> None:
    """It is kept with range and horizon; without a lock there is neither a rate nor a refusal."""
    locked = bench.lock(batch_size=7)
    kept = bench.run("when: never", locked)
    assert (locked.learning_rate, locked.learning_rates, locked.learning_rate_range, 30, True) == (
        kept.learning_rate,
        kept.learning_rates,
        kept.learning_rate_range,
        kept.lr_horizon,
        kept.lr_kept,
    )
    without = bench.run("when: never")
    assert (None, None, False) == (without.learning_rate, without.lr_refusal, without.lr_kept)
    assert [] == bench.runner.swept + bench.runner.tried


@pytest.mark.parametrize(
    "changes",
    [{}, {"learning_rate": None, "lr_refusal": "too noisy"}],
    ids=["rate", "refusal"],
)
def test_changed_keeps_what_is_locked_while_nothing_changed(
    bench: Bench, changes: dict[str, Any]
) -> None:
    """The locked rate with range and horizon, or the locked refusal, is kept untried."""
    locked = bench.lock(**changes)
    found = bench.run("when: changed", locked)
    assert (
        locked.learning_rate,
        locked.learning_rate_range,
        locked.lr_horizon,
        locked.lr_refusal,
        True,
    ) == (
        found.learning_rate,
        found.learning_rate_range,
        found.lr_horizon,
        found.lr_refusal,
        found.lr_kept,
    )
    assert [] == bench.runner.swept + bench.runner.tried


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": "sha256:f2"},
        {"recipe": "sha256:r2"},
        {"batch_size": 47},
        {"made_with": {"torch": "2.12.0"}},
        {"learning_rate": None},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_changed_runs_again_after_a_change(bench: Bench, changes: dict[str, Any]) -> None:
    """A change of workload, recipe, batch or torch is tried, and a lock without an answer too."""
    found = bench.run("when: changed, seeds: [0]", bench.lock(**changes))
    assert ([0], False) == (bench.runner.seeds_tried, found.lr_kept)
