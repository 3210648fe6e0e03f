"""The LR range test of a case: when it is swept once, again, with more seeds, or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fake_runner import Rehearsal, make_case, surroundings
from lr_curves import fall, three_quarters
from projects import MIB

from harness.lockfile.profiles import LockedProfile
from harness.lr_range.rate_map import RateMap
from harness.lr_range.ratio import log_median
from harness.measure.learning_rate import with_learning_rate
from harness.measurement import Measurement, Probe
from harness.probes.open_cases import OpenCase

if TYPE_CHECKING:
    from collections.abc import Sequence


class Bench:
    """Runs the LR range test of one case on a rehearsal, at batch 48."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.case = make_case(tmp_path)
        self.runner = Rehearsal()
        self.measurement = Measurement(
            axes=dict(self.case.axes),
            device=self.runner.device.identity,
            emulated=True,
            max_batch_size=54,
            bounded_by="memory",
            batch_size=48,
            fingerprint="sha256:f1",
            recipe="sha256:r1",
            memory_limit_bytes=64 * MIB,
            made_with={"torch": "2.13.0"},
        )

    def lock(self, **changes: Any) -> LockedProfile:
        """Lock the same measurement with a learning rate."""
        values: dict[str, Any] = {
            "learning_rate": 3e-2,
            "learning_rates": (2.9e-2, 3.1e-2),
        } | changes
        if rate := values["learning_rate"]:
            values.setdefault("learning_rate_range", (rate / 2, rate * 2))
        return replace(LockedProfile.from_measurement(self.measurement), **values)

    def run(
        self, lr: str = "num_training: 60, seeds: [0, 1]", locked: LockedProfile | None = None
    ) -> Measurement:
        """Run the LR range test."""
        self.case = make_case(self.tmp_path, lr=lr)
        opened = OpenCase(
            self.case,
            self.runner,  # type: ignore[arg-type] # stands for a ProbeRunner
            self.runner.description,
            locked,
            surroundings(self.tmp_path),
        )
        return with_learning_rate(opened, self.measurement)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return a bench."""
    return Bench(tmp_path)


def test_every_seed_is_swept_at_the_tuned_batch(bench: Bench) -> None:
    """Each seed has one sweep; the learning rate is the median; curves and artifacts are kept."""
    found = bench.run()
    assert [(48, 60, 0), (48, 60, 1)] == bench.runner.swept
    assert found.learning_rate == pytest.approx(three_quarters(1e-2), rel=0.1)
    assert (2, [0, 1], None, False) == (
        len(found.learning_rates),
        [curve.seed for curve in found.lr_curves],
        found.lr_refusal,
        found.lr_kept,
    )
    folder = bench.tmp_path / "results" / "net-cpu-1"
    assert (str(folder / "lr_range.png"), str(folder / "lr_range.json")) == found.artifacts
    assert all(Path(path).stat().st_size > 0 for path in found.artifacts)


@pytest.mark.parametrize("absolute", [False, True])
def test_plot_goes_where_it_is_asked_for(bench: Bench, *, absolute: bool) -> None:
    """A relative `plot_path` is below the working directory; the curve stays with the results."""
    asked = str(bench.tmp_path / "plot.png") if absolute else "plots/plot.png"
    plot, curve = map(
        Path, bench.run(f"num_training: 60, seeds: [0], plot_path: {asked}").artifacts
    )
    assert bench.tmp_path / "work" / asked == plot
    assert plot.is_file()
    assert 1 == len(json.loads(curve.read_text(encoding="utf-8"))["losses_per_seed"])


def test_never_keeps_the_locked_learning_rate(bench: Bench) -> None:
    """It is marked as kept; without a lock there is neither a learning rate nor a refusal."""
    kept = bench.run("when: never", bench.lock(batch_size=7))
    without = bench.run("when: never")
    assert (3e-2, (2.9e-2, 3.1e-2), True) == (kept.learning_rate, kept.learning_rates, kept.lr_kept)
    assert (None, None, False) == (without.learning_rate, without.lr_refusal, without.lr_kept)
    assert [] == bench.runner.swept


@pytest.mark.parametrize(
    "changes",
    [{}, {"learning_rate": None, "learning_rates": (), "lr_refusal": "too noisy"}],
    ids=["rate", "refusal"],
)
def test_changed_keeps_what_is_locked_while_nothing_changed(
    bench: Bench, changes: dict[str, Any]
) -> None:
    """The locked learning rate, or the locked refusal, is kept without a sweep."""
    locked = bench.lock(**changes)
    found = bench.run("when: changed", locked)
    assert (locked.learning_rate, locked.lr_refusal, True) == (
        found.learning_rate,
        found.lr_refusal,
        found.lr_kept,
    )
    assert [] == bench.runner.swept


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": "sha256:f2"},
        {"recipe": "sha256:r2"},
        {"batch_size": 47},
        {"made_with": {"torch": "2.12.0"}},
        {"learning_rate": None, "learning_rates": ()},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_changed_runs_again_after_a_change(bench: Bench, changes: dict[str, Any]) -> None:
    """A change of workload, recipe, batch or torch is swept, and a lock without an answer too."""
    found = bench.run("when: changed, num_training: 60, seeds: [0]", bench.lock(**changes))
    assert (1, False) == (len(bench.runner.swept), found.lr_kept)


def test_synthetic_data_are_refused_unswept(bench: Bench) -> None:
    """Synthetic data are refused without a sweep."""
    bench.runner.description = replace(bench.runner.description, synthetic=True)
    found = bench.run()
    assert found.lr_refusal is not None
    assert "synthetic" in found.lr_refusal
    assert [] == bench.runner.swept


def test_noise_is_met_with_twice_the_steps(bench: Bench) -> None:
    """If the signal is weak, all seeds are swept again with twice the steps, and that counts."""

    def noisy(rates: Sequence[float], seed: int) -> list[float]:
        return fall(rates, 1e-2, noise=2.0 if len(rates) == 60 else 0.002, seed=seed)

    bench.runner.curve = noisy
    found = bench.run()
    assert [(60, 0), (60, 1), (120, 0), (120, 1)] == [swept[1:] for swept in bench.runner.swept]
    assert found.learning_rate == pytest.approx(three_quarters(1e-2), rel=0.1)
    assert [120, 120] == [len(curve.losses) for curve in found.lr_curves]


def test_noise_that_stays_is_refused(bench: Bench) -> None:
    """After one longer sweep the refusal stands; its curves are still saved."""
    bench.runner.curve = lambda rates, seed: fall(rates, 1e-2, noise=5.0, seed=seed)
    found = bench.run()
    assert found.lr_refusal is not None
    assert "lost in the noise" in found.lr_refusal
    assert (None, 4, 2) == (found.learning_rate, len(bench.runner.swept), len(found.artifacts))


def test_new_seeds_are_run_before_a_failure(bench: Bench) -> None:
    """A learning rate far from the lock brings new seeds; the median of all seeds is reported."""
    bench.runner.curve = lambda rates, seed: fall(
        rates, 1e-2 if seed < 2 else 1.5e-2, noise=0.002, seed=seed
    )
    found = bench.run(locked=bench.lock(learning_rate=3e-4))
    assert [0, 1, 2, 3] == [seed for _, _, seed in bench.runner.swept]
    assert 4 == len(found.learning_rates) == len(found.lr_curves)
    assert log_median(found.learning_rates) == found.learning_rate
    assert max(found.learning_rates[:2]) < found.learning_rate < min(found.learning_rates[2:])


def test_new_seeds_may_move_it_back_within_bounds(bench: Bench) -> None:
    """If the new seeds agree with the lock, the median of all seeds decides."""
    centre = {0: 1e-2, 1: 1e-2, 2: 2e-3, 3: 2e-3}
    bench.runner.curve = lambda rates, seed: fall(rates, centre[seed], noise=0.002, seed=seed)
    locked = bench.lock(learning_rate=three_quarters(4e-3))
    found = bench.run(locked=locked)
    assert locked.learning_rate is not None
    assert found.learning_rate is not None
    assert found.learning_rate == pytest.approx(three_quarters((1e-2 * 2e-3) ** 0.5), rel=0.1)
    assert 0.5 < found.learning_rate / locked.learning_rate < 2


def test_new_seeds_may_settle_a_disagreement_over_a_locked_number(bench: Bench) -> None:
    """One stray seed does not fail a locked learning rate that the median of all confirms."""
    centre = {0: 1e-2, 1: 1e-1, 2: 1e-2, 3: 1e-2}
    bench.runner.curve = lambda rates, seed: fall(rates, centre[seed], noise=0.002, seed=seed)
    found = bench.run(locked=bench.lock(learning_rate=three_quarters(1e-2)))
    assert [0, 1, 2, 3] == [seed for _, _, seed in bench.runner.swept]
    assert found.lr_refusal is None
    assert found.learning_rate == pytest.approx(three_quarters(1e-2), rel=0.2)
    assert "the seeds disagree" in found.warnings[0]


def test_disagreement_stands_where_all_seeds_contradict_the_lock(bench: Bench) -> None:
    """If more seeds do not confirm the locked learning rate, the refusal stands."""
    centre = {0: 1e-2, 1: 1e-1, 2: 1e-2, 3: 1e-2}
    bench.runner.curve = lambda rates, seed: fall(rates, centre[seed], noise=0.002, seed=seed)
    found = bench.run(locked=bench.lock(learning_rate=three_quarters(1e-3)))
    assert found.learning_rate is None
    assert found.lr_refusal is not None
    assert "the seeds disagree" in found.lr_refusal
    assert 4 == len(found.lr_curves)


def test_disagreement_without_a_locked_number_is_refused_at_once(bench: Bench) -> None:
    """Without a locked learning rate, no new seeds are swept."""
    bench.runner.curve = lambda rates, seed: fall(rates, (1e-2, 1e-1)[seed], noise=0.002, seed=seed)
    found = bench.run()
    assert (None, 2) == (found.learning_rate, len(bench.runner.swept))


def test_new_seeds_are_ones_that_were_not_used(bench: Bench) -> None:
    """They are the smallest unused numbers, even if one seed is the largest possible."""
    bench.runner.curve = lambda rates, seed: fall(rates, 1e-2, noise=0.002, seed=seed % 4)
    bench.run(f"num_training: 60, seeds: [1, {2**32 - 1}]", bench.lock(learning_rate=3e-4))
    assert [1, 2**32 - 1, 0, 2] == [seed for _, _, seed in bench.runner.swept]


def test_new_seeds_without_an_answer_are_a_warning(bench: Bench) -> None:
    """If they give no learning rate, the first seeds' stands, and a warning gives the reason."""
    bench.runner.failing_seeds = {2: "it sets its learning rate itself"}
    found = bench.run(locked=bench.lock(learning_rate=3e-4))
    assert (2, ("the new seeds gave no learning rate: it sets its learning rate itself",)) == (
        len(found.learning_rates),
        found.warnings,
    )


@pytest.mark.parametrize(
    "changes",
    [{"learning_rate": 4e-2}, {"batch_size": 24}, {"recipe": "sha256:r2"}, {"learning_rate": None}],
    ids=["within the bound", "other batch", "other recipe", "none locked"],
)
def test_no_new_seeds_without_a_failure_at_hand(bench: Bench, changes: dict[str, Any]) -> None:
    """A result that would not fail, or cannot be compared, brings no new seeds."""
    bench.run(locked=bench.lock(**({"learning_rate": 3e-4} | changes)))
    assert [0, 1] == [seed for _, _, seed in bench.runner.swept]


def test_refused_sweep_ends_the_test(bench: Bench) -> None:
    """After the first refusal no further seed is swept and nothing is drawn."""
    bench.runner.failing_seeds = {0: "the workload uses manual optimization"}
    found = bench.run()
    assert ("the workload uses manual optimization", (), 1) == (
        found.lr_refusal,
        found.artifacts,
        len(bench.runner.swept),
    )


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("oom", "ran out of memory"),
        ("dataset", "found no full batch"),
        ("error", "failed"),
    ],
)
def test_failed_sweep_is_a_refusal_with_its_circumstances(
    bench: Bench, outcome: Any, words: str
) -> None:
    """The refusal has seed, batch, phase, cause and log; curves of earlier seeds are kept."""
    bench.runner.failing_seeds = {1: Probe(48, outcome, "backward", detail="it broke", log="x.log")}
    found = bench.run()
    expected = (
        f"the sweep with seed 1 {words} at batch 48 in backward: it broke (its output is in x.log)"
    )
    assert (expected, 1, None) == (found.lr_refusal, len(found.lr_curves), found.learning_rate)


def tenfold(value: float) -> tuple[float, ...]:
    """Return the rates of a body, and of a head that learns ten times as fast."""
    return (value, 10 * value)


def test_the_value_of_the_attribute_is_found(bench: Bench) -> None:
    """The learning rates are those of the attribute; the largest rate is told beside them."""
    plain = bench.run()
    bench.runner.attribute, bench.runner.rates_of = "Net.lr", tenfold
    found = bench.run()
    assert plain.learning_rate is not None
    assert found.learning_rate == pytest.approx(plain.learning_rate / 10)
    assert found.learning_rates == pytest.approx([rate / 10 for rate in plain.learning_rates])
    assert found.largest_learning_rate == pytest.approx(plain.learning_rate)
    assert (None, plain.lr_curves) == (plain.largest_learning_rate, found.lr_curves)


def test_the_attribute_is_read_at_the_tuned_batch_and_confirmed(bench: Bench) -> None:
    """The first probe finds the map, and the last one sets the value that would be locked."""
    bench.runner.attribute = "Net.lr"
    found = bench.run()
    assert [(48, ()), (48, (found.learning_rate,))] == bench.runner.read
    assert {RateMap("Net.lr", 1e-3, (1e-3,))} == set(bench.runner.maps)


def test_groups_with_rates_of_their_own_are_named(bench: Bench) -> None:
    """They are not swept, and a warning says so; the value is that of the other groups."""
    bench.runner.attribute = "Net.lr"
    bench.runner.rates_of = lambda value: (0.5, value)
    found = bench.run()
    assert found.learning_rate == pytest.approx(three_quarters(1e-2), rel=0.1)
    assert (0,) == (bench.runner.maps[0] or RateMap("", 1, ())).fixed_groups
    (warning,) = found.warnings
    assert "1 of 2 groups of the optimizer keep learning rates of their own (0.5)" in warning


def test_an_attribute_that_is_not_used_is_refused_unswept(bench: Bench) -> None:
    """No value of it makes the rates of a sweep, so there is nothing to lock."""
    bench.runner.attribute = "Net.lr"
    bench.runner.rates_of = lambda _value: (0.1,)
    found = bench.run()
    assert "the optimizer does not follow Net.lr" in (found.lr_refusal or "")
    assert (None, []) == (found.learning_rate, bench.runner.swept)


def test_a_value_that_makes_other_rates_is_refused(bench: Bench) -> None:
    """A clamp that only the found value reaches is seen in the end; both rates are told."""
    bench.runner.attribute = "Net.lr"
    bench.runner.rates_of = lambda value: (min(value, 5e-3),)
    found = bench.run()
    assert (None, ()) == (found.learning_rate, found.learning_rates)
    assert "configure_optimizers gives 0.005" in (found.lr_refusal or "")


def test_new_seeds_are_compared_in_values_of_the_attribute(bench: Bench) -> None:
    """The lock holds the attribute's value, so equal values bring no new seeds."""
    bench.runner.attribute, bench.runner.rates_of = "Net.lr", tenfold
    bench.run(locked=bench.lock(learning_rate=three_quarters(1e-2) / 10))
    assert [0, 1] == [seed for _, _, seed in bench.runner.swept]


def test_time_that_runs_out_is_a_refusal_with_the_steps(bench: Bench) -> None:
    """It tells how far the sweeps came and what to change; earlier curves are kept."""
    bench.runner.late_seeds = {1: 25}
    found = bench.run("num_training: 60, seeds: [0, 1, 2], max_seconds: 50")
    assert (None, 1) == (found.learning_rate, len(found.lr_curves))
    assert (
        "the range test has lr_range.max_seconds of 50 s, in which it came to step 25 of 60 of "
        "sweep 2 of 3"
    ) in (found.lr_refusal or "")


@pytest.mark.parametrize(("lr", "bounded"), [("", False), (", max_seconds: 50", True)])
def test_all_sweeps_share_the_seconds(bench: Bench, lr: str, *, bounded: bool) -> None:
    """Each sweep is given what is left of max_seconds; without one there is no limit."""
    bench.run("num_training: 60, seeds: [0, 1]" + lr)
    first, second = bench.runner.seconds
    assert bounded == (first is not None)
    if first is not None and second is not None:
        assert 50 >= first > second > 0


@pytest.mark.parametrize(("locked", "advised"), [(False, True), (True, False)])
def test_a_long_first_range_test_is_announced_with_advice(
    bench: Bench, caplog: pytest.LogCaptureFixture, *, locked: bool, advised: bool
) -> None:
    """Steps and time come from the speed of the search; only the first run is given advice."""
    bench.measurement = replace(bench.measurement, samples_per_second=10.0)
    with caplog.at_level("INFO", "harness"):
        bench.run(locked=bench.lock() if locked else None)
    (record,) = [one for one in caplog.records if "at most about" in one.getMessage()]
    assert "120 steps at batch 48, at most about 10 minutes" in record.getMessage()
    assert advised == ("lower lr_range.num_training" in record.getMessage())
    assert advised == (record.levelname == "WARNING")
