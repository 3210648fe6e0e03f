"""The learning-rate rule gives the known answers of synthetic curves and of recorded sweeps."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lr_curves import fall, real, refusal_of, sweep, three_quarters

from harness.lr_range.ratio import log_median, outside
from harness.lr_range.suggestion import geometric_sweep, suggest


def test_sweep_is_geometric() -> None:
    """A sweep holds both ends exactly, and rises by a constant factor."""
    rates = geometric_sweep(1e-6, 10.0, 8)
    assert (rates[0], rates[-1]) == (1e-6, 10.0)
    assert pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0]) == rates


@pytest.mark.parametrize(
    ("lr_min", "lr_max", "num_training", "names"),
    [
        (0.0, 1.0, 10, "lr_min=0, lr_max=1"),
        (1.0, 1.0, 10, "lr_min=1, lr_max=1"),
        (1e-3, math.inf, 10, "lr_max=inf"),
        (math.nan, 1.0, 10, "lr_min=nan"),
        (1e-3, 1.0, 1, "got 1"),
    ],
)
def test_sweep_rejects_what_is_no_range(
    lr_min: float, lr_max: float, num_training: int, names: str
) -> None:
    """A range that is empty, not positive or not finite is an error that names the values."""
    with pytest.raises(ValueError, match=names):
        geometric_sweep(lr_min, lr_max, num_training)


# The rule.


@pytest.mark.parametrize("num_training", [50, 100, 200, 400])
@pytest.mark.parametrize(("centre", "width"), [(1e-4, 0.2), (1e-3, 0.5), (1e-2, 0.7)])
def test_suggests_the_75_percent_point(num_training: int, centre: float, width: float) -> None:
    """For any number of steps, the suggestion is at 75% of the smoothed loss's drop."""
    rates = sweep(num_training)
    suggestion = suggest(rates, [fall(rates, centre, width=width)])
    assert suggestion.refusal is None
    assert pytest.approx(three_quarters(centre, width), rel=0.05) == suggestion.learning_rate


def test_divergence_does_not_move_the_suggestion() -> None:
    """A loss that explodes long after its minimum does not move the suggestion."""
    rates = sweep()
    losses = fall(rates, 1e-4)
    exploded = [
        loss if rate < 0.1 else 1e6 * rate for rate, loss in zip(rates, losses, strict=True)
    ]
    expected = suggest(rates, [losses]).learning_rate
    assert pytest.approx(expected, rel=0.01) == suggest(rates, [exploded]).learning_rate


@pytest.mark.parametrize("factor", [2.0**-10, 1e-3, 7.0, 2.0**10])
@pytest.mark.parametrize("offset", [0.0, -5.0, 100.0])
def test_loss_scale_and_offset_do_not_matter(factor: float, offset: float) -> None:
    """Scaling or shifting the loss changes neither the suggestion nor the signal-to-noise ratio."""
    rates = sweep()
    losses = fall(rates, 1e-3, noise=0.02)
    expected = suggest(rates, [losses])
    scaled = suggest(rates, [[factor * (loss + offset) for loss in losses]])
    assert pytest.approx(expected.learning_rate, rel=1e-6) == scaled.learning_rate
    assert pytest.approx(expected.signal_to_noise, rel=1e-6) == scaled.signal_to_noise


@pytest.mark.parametrize("spike", [-1e6, 0.0, 1e6])
@pytest.mark.parametrize("step", [3, 60, 100])
def test_one_outlier_does_not_matter(spike: float, step: int) -> None:
    """A single spike on the plateau or on the way down moves the suggestion by less than 10%."""
    rates = sweep()
    losses = fall(rates, 1e-3, noise=0.02)
    spiked = [*losses[:step], spike, *losses[step + 1 :]]
    expected = suggest(rates, [losses]).learning_rate
    assert pytest.approx(expected, rel=0.1) == suggest(rates, [spiked]).learning_rate


def test_seeds_are_combined_by_their_log_median() -> None:
    """The suggestion is that of the middle seed; those of all seeds are kept in order."""
    rates = sweep()
    suggestion = suggest(rates, [fall(rates, centre) for centre in (2e-3, 0.5e-3, 1e-3)])
    assert (
        pytest.approx([three_quarters(c) for c in (2e-3, 0.5e-3, 1e-3)], rel=0.02)
        == suggestion.per_seed
    )
    assert suggestion.per_seed[2] == pytest.approx(suggestion.learning_rate)
    assert pytest.approx(math.log(2), rel=0.02) == suggestion.log_sd


def test_two_seeds_are_combined_by_their_geometric_mean() -> None:
    """The suggestion of two seeds is their geometric mean."""
    rates = sweep()
    suggestion = suggest(rates, [fall(rates, 1e-3), fall(rates, 2e-3)])
    assert pytest.approx(three_quarters(math.sqrt(2) * 1e-3), rel=0.02) == suggestion.learning_rate


def test_one_seed_has_no_spread() -> None:
    """A single seed is enough; its spread is 0."""
    rates = sweep()
    suggestion = suggest(rates, [fall(rates, 1e-3)])
    assert suggestion.log_sd == 0.0
    assert pytest.approx(suggestion.per_seed[0]) == suggestion.learning_rate


def test_keeps_what_the_lock_and_the_plot_need() -> None:
    """The result has the initial loss, the fractional drop and a smoothed loss for each step."""
    rates = sweep()
    suggestion = suggest(rates, [fall(rates, 1e-3)])
    assert pytest.approx(2.0, abs=0.01) == suggestion.initial_loss
    assert pytest.approx(0.5, abs=0.01) == suggestion.fractional_drop
    assert [len(smoothed) for smoothed in suggestion.smoothed] == [200]


def test_signal_to_noise_is_the_drop_over_the_noise_of_a_step() -> None:
    """A drop of 1 over noise of standard deviation 0.05 has a signal-to-noise ratio near 20."""
    rates = sweep()
    suggestion = suggest(rates, [fall(rates, 1e-3, noise=0.05, seed=seed) for seed in range(3)])
    assert pytest.approx(20, rel=0.2) == suggestion.signal_to_noise


def test_initial_loss_of_zero_has_no_fractional_drop() -> None:
    """A drop from zero has no fractional drop, but still a suggestion."""
    rates = sweep()
    losses = [0.0] * 60 + [loss - 2 for loss in fall(rates, 1e-2)][60:]
    suggestion = suggest(rates, [losses])
    assert suggestion.fractional_drop is None
    assert suggestion.learning_rate is not None


@pytest.mark.parametrize(
    ("rates", "losses", "names"),
    [
        ([], [[]], "learning_rates is empty"),
        ([0.1, 0.2], [], "losses_per_seed is empty"),
        ([0.1, -0.2], [[1.0, 1.0]], r"learning_rates\[1\] is -0.2"),
        ([0.1, math.nan], [[1.0, 1.0]], r"learning_rates\[1\] is nan"),
        ([0.1, 0.3, 0.2], [[1.0]], r"learning_rates\[2\] is 0.2 after 0.3"),
        ([0.1, 0.1, 0.2], [[1.0]], r"learning_rates\[1\] is 0.1 after 0.1"),
        ([0.1, 0.2, 0.1], [[1.0]], r"learning_rates\[2\] is 0.1 after 0.2"),
        (
            [0.1, 0.2],
            [[1.0], [1.0, 1.0, 1.0]],
            r"losses_per_seed\[1\] has 3 losses for 2 learning rates",
        ),
    ],
)
def test_input_that_is_no_sweep_is_an_error(
    rates: list[float], losses: list[list[float]], names: str
) -> None:
    """Sizes that do not match, and rates that are not positive and rising, are a ValueError."""
    with pytest.raises(ValueError, match=names):
        suggest(rates, losses)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(
            st.none() | st.floats(-1e30, 1e30) | st.sampled_from([math.nan, math.inf, 0.0]),
            max_size=40,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_losses_give_a_suggestion_or_a_refusal(losses: list[list[float | None]]) -> None:
    """Any losses give either a learning rate or a refusal, and only finite numbers."""
    suggestion = suggest(sweep(40), losses)
    assert (suggestion.learning_rate is None) != (suggestion.refusal is None)
    assert len(losses) == len(suggestion.per_seed) == len(suggestion.smoothed)
    assert math.isfinite(suggestion.signal_to_noise)
    assert math.isfinite(suggestion.log_sd)


@pytest.mark.parametrize(
    ("per_seed", "expected"),
    [
        ([3.0], 3.0),
        ([1.0, 100.0], 10.0),
        ([5.0, 1.0, 2.0], 2.0),
        ([1.0, 2.0, 8.0, 3.0, 100.0, 0.1], 6**0.5),
    ],
)
def test_combine_is_the_log_median(per_seed: list[float], expected: float) -> None:
    """`log_median` returns the median of learning rates in log space."""
    assert pytest.approx(expected) == log_median(per_seed)


def test_combine_needs_a_learning_rate() -> None:
    """Combining no learning rates is a ValueError."""
    with pytest.raises(ValueError, match="no seed gave one"):
        log_median([])


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (0.003, False),
        (0.006, False),
        (0.00601, True),
        (0.0015, False),
        (0.00149, True),
        (1.0, True),
    ],
)
def test_outside_is_beyond_the_factor_either_way(measured: float, *, expected: bool) -> None:
    """A value is outside if it is beyond the factor, up or down; at the factor it is inside."""
    assert expected == outside(measured, 0.003, 2.0)


@pytest.mark.parametrize("factor", [1.5, 2.0, 3.0, 7.0])
def test_outside_allows_for_rounding(factor: float) -> None:
    """A value at the factor is inside even if the product of the floats is rounded up."""
    assert not any(
        outside(locked * factor, locked, factor) for locked in (0.1, 0.0049, 3.3e-5, 0.07)
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [("char_lm|adamw|32", 0.0042), ("digits_mlp|sgd|256", 0.16), ("wine_mlp|sgd|64", 0.052)],
)
def test_real_sweeps_have_a_suggestion(name: str, expected: float) -> None:
    """Recorded sweeps give a suggestion, even if some losses are not finite or stop falling."""
    suggestion = suggest(*real(name))
    assert suggestion.refusal is None
    assert pytest.approx(expected, rel=0.05) == suggestion.learning_rate
    assert suggestion.signal_to_noise > 20


def test_a_real_sweep_that_learned_nothing_is_refused() -> None:
    """A recorded sweep that learned nothing within 200 steps is refused."""
    suggestion = suggest(*real("digits_vit|sgd|16"))
    assert "signal-to-noise" in refusal_of(suggestion)


def test_importing_the_rule_is_free_of_heavy_modules() -> None:
    """Importing the rule imports neither torch nor numpy nor pytest."""
    code = (
        "import sys, harness.lr_range;"
        " print([m for m in ('torch', 'numpy', 'pytest') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
