"""The range test where a training gives no losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.lr_range.find import LearningRateSearch, Limits, NoLossesError

if TYPE_CHECKING:
    from collections.abc import Sequence


class NeverFalling:
    """Trainings whose loss stays where it is, and of which only the shortest can be had."""

    def sweep(self, _seed: int, learning_rates: Sequence[float]) -> Sequence[float]:
        """Return a level loss."""
        return [1.0] * len(learning_rates)

    def trial(
        self, _seed: int, _learning_rate: float, num_steps: int, _ceiling: float | None
    ) -> Sequence[float]:
        """Return a level loss for a horizon of 10, and nothing for a longer one."""
        if num_steps > 10:
            raise NoLossesError("the time is over")
        return [1.0] * num_steps


def test_first_trial_of_a_longer_horizon_gives_no_losses() -> None:
    """The reason is that of the training, though the seed has no trial at that horizon."""
    result = LearningRateSearch(NeverFalling(), Limits(1e-4, 1.0, 10, 1000)).run([0])
    assert (None, "the time is over") == (result.found, result.refusal)
