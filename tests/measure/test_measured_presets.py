"""The presets quick and thorough in one measurement: what they ask of the probes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from fake_runner import Rehearsal, make_case, surroundings

from harness.identity.recipe import recipe
from harness.lockfile.profiles import LockedProfile
from harness.measure.case import measure_case
from harness.probes import open_cases

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.measurement import Measurement, Probe


@dataclass
class Wavering(Rehearsal):
    """A rehearsal in which some sizes end otherwise when they are probed again."""

    wavers: tuple[int, ...] = ()
    seen: set[int] = field(default_factory=set)

    def train(self, batch_size: int, **arguments: Any) -> Probe:
        """Turn the outcome around the second time."""
        done = super().train(batch_size, **arguments)
        if batch_size in self.wavers and arguments["steps"] == 3 and batch_size in self.seen:
            return replace(done, outcome="oom" if done.outcome == "fits" else "fits")
        self.seen |= {batch_size} if arguments["steps"] == 3 else set()
        return done


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Measurement]:
    """Return a function that measures a case under a preset, with a rehearsal for its zygote."""

    def measure(
        preset: str,
        locked: Measurement | None = None,
        runner: Rehearsal | None = None,
        **settings: str,
    ) -> Measurement:
        runner = runner or Rehearsal()
        monkeypatch.setattr(open_cases, "open_runner", lambda *_: runner)
        case = make_case(tmp_path, preset=preset, **({"lr": ""} | settings))
        profile = None if locked is None else LockedProfile.from_measurement(locked)
        return measure_case(case, runner.device, profile, surroundings(tmp_path))

    return measure


def sizes(measurement: Measurement) -> list[int]:
    """Return the batch sizes of the probes, in their order."""
    return [probe.batch_size for probe in measurement.probes]


def test_quick_verifies_a_lock_in_two_probes_and_keeps_its_learning_rate(
    measure: Callable[..., Measurement],
) -> None:
    """B fits and B + 1 does not; no sweep and no trial run where nothing has changed."""
    first, runner = measure("null"), Rehearsal()
    quick = measure("quick", first, runner)
    assert ([54, 55], []) == (sizes(quick), runner.swept + runner.tried)
    assert (first.learning_rate, True) == (quick.learning_rate, quick.lr_kept)


def test_quick_runs_the_range_test_again_where_something_changed(
    measure: Callable[..., Measurement],
) -> None:
    """A learning rate of another torch is not kept."""
    first, runner = measure("null"), Rehearsal()
    runner.versions = {"torch": "3.0.0"}
    quick = measure("quick", first, runner)
    assert ([54, 55], False) == (sizes(quick), quick.lr_kept)
    assert [0] == runner.seeds_tried


def test_quick_without_a_lock_searches_and_says_so(measure: Callable[..., Measurement]) -> None:
    """There is nothing to verify, so it is a whole search."""
    quick = measure("quick", lr="when: never")
    said = "nothing is locked that the preset quick could verify, so it searched as without a"
    assert [f"{said} preset"] == [text for text in quick.warnings if "quick" in text]
    assert sizes(measure("null", lr="when: never")) == sizes(quick)


def test_thorough_searches_cold_soaks_and_repeats_the_bracket(
    measure: Callable[..., Measurement],
) -> None:
    """Its probes are those of a search without a lock, then B and B + 1 again; then the soak."""
    first, runner = measure("null", lr="when: never"), Rehearsal()
    thorough = measure("thorough", first, runner, lr="when: never")
    assert [*sizes(first), 54, 55] == sizes(thorough)
    assert [(54, 100)] == [
        (asked["batch_size"], asked["steps"]) for asked in runner.trained if asked["steps"] > 3
    ]


def test_thorough_takes_all_of_five_seeds_with_a_sweep_of_its_own(
    measure: Callable[..., Measurement],
) -> None:
    """Seeds that agree, and a locked rate that is confirmed, end nothing early."""
    first, runner = measure("null"), Rehearsal()
    thorough = measure("thorough", first, runner)
    assert ([0, 1, 2, 3, 4], 5) == (runner.seeds_tried, len(thorough.learning_rates))
    assert [0] == [seed for _, _, seed in runner.swept]
    assert thorough.lr_confirmed


def test_explicit_keys_win_over_a_preset(measure: Callable[..., Measurement]) -> None:
    """Seeds and soak that the matrix states are those that run."""
    runner = Rehearsal()
    thorough = measure("thorough", None, runner, lr="seeds: [7]", search="soak_steps: 0")
    assert ([7], 1) == (runner.seeds_tried, len(thorough.learning_rates))
    assert [] == [asked for asked in runner.trained if asked["steps"] > 3]


@pytest.mark.parametrize("preset", ["quick", "thorough", "production"])
@pytest.mark.parametrize("lr", ["", "seeds: [7]"])
def test_no_preset_makes_a_lock_stale(tmp_path: Path, preset: str, lr: str) -> None:
    """The recipe is that of the settings without the preset."""
    plain, under = (make_case(tmp_path, lr=lr, preset=one) for one in ("null", preset))
    assert recipe(plain, {}) == recipe(under, {})


def test_batch_that_does_not_train_again_is_no_answer(
    measure: Callable[..., Measurement],
) -> None:
    """The search goes on below it, and a warning says why."""
    runner = Wavering(wavers=(54,))
    thorough = measure("thorough", None, runner, lr="when: never")
    assert (53, "memory", 53) == (
        thorough.max_batch_size,
        thorough.bounded_by,
        thorough.batch_size,
    )
    said = "batch 54 trained in the search, and not when it was repeated (batch 54 out of memory)"
    assert [f"{said}: 53 is the answer"] == [
        text for text in thorough.warnings if "repeated" in text
    ]


def test_next_batch_that_trains_when_it_is_repeated_is_a_warning(
    measure: Callable[..., Measurement],
) -> None:
    """The batch that trained twice stays the answer."""
    runner = Wavering(wavers=(55,))
    thorough = measure("thorough", None, runner, lr="when: never")
    assert 54 == thorough.max_batch_size
    assert [
        (
            "batch 55 out of memory in forward in the search, and trained when it was repeated: "
            "the memory is just at the edge, and batch 54, which trained twice, is the answer"
        )
    ] == [text for text in thorough.warnings if "repeated" in text]


def test_only_size_that_does_not_train_again_leaves_no_batch(
    measure: Callable[..., Measurement],
) -> None:
    """Below the smallest size there is nothing to search."""
    runner = Wavering(wavers=(54,))
    thorough = measure("thorough", None, runner, search="min_batch_size: 54", lr="when: never")
    assert (0, "nothing fits") == (thorough.max_batch_size, thorough.bounded_by)
