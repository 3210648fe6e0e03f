"""Timed probes in this process, with a memory bound that only records."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import zoo
from training_probes import Probing

from harness.probe_tasks.timing import WARM_UP_STEPS

if TYPE_CHECKING:
    import torch

# Lightning warns about few workers and short loaders, which these tests have on purpose.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Probing:
    """Return a function that runs probes with a bound that only records."""
    return Probing(monkeypatch)


def here(name: str) -> str:
    """Return the class path of something in this file."""
    return f"{__name__}.{name}"


class SlowStart(zoo.Net):
    """Takes a fifth of a second for each of its first batches, and then 5 ms."""

    slow = WARM_UP_STEPS

    def __init__(self) -> None:
        super().__init__(8)

    def training_step(self, batch: zoo.Batch, batch_idx: int) -> torch.Tensor:
        """Wait, and return the loss."""
        time.sleep(0.2 if batch_idx < self.slow else 0.005)
        return self.loss(batch)


class AccumulatingSlowStart(SlowStart):
    """Is slow for the two batches of each first step."""

    slow = 2 * WARM_UP_STEPS


class NeverSteps(zoo.Net):
    """Skips the optimizer's steps after the first ones."""

    def __init__(self) -> None:
        super().__init__(8)
        self.automatic_optimization = False

    def training_step(self, batch: zoo.Batch, batch_idx: int) -> torch.Tensor:
        """Step while the probe warms up, and then no more."""
        loss = self.loss(batch)
        if batch_idx < WARM_UP_STEPS:
            self.optimizers().step()  # type: ignore[union-attr] # there is one
        return loss


def timed(probe: Probing, module: str, **request: Any) -> dict[str, Any]:
    """Run a timed probe."""
    asked = {"steps": 8, "settle": False, "validation_steps": 0, "timed_seconds": 0.0}
    return probe(here(module), **asked | request)


def test_warm_up_is_left_out(probe: Probing) -> None:
    """Steps that are slow at first do not count; 8 samples in 5 ms are at most 1600 a second."""
    result = timed(probe, "SlowStart")
    assert ("fits", 8) == (result["outcome"], result["steps"])
    # With one slow batch among the five it would be below 40.
    assert 40 < result["samples_per_second"] <= 1600


def test_warm_up_counts_steps_not_batches(probe: Probing) -> None:
    """With gradients that accumulate over two batches, twice as many batches are left out."""
    result = timed(probe, "AccumulatingSlowStart", trainer={"accumulate_grad_batches": 2})
    assert (8, 16 * 8) == (result["steps"], result["samples"])
    assert 40 < result["samples_per_second"] <= 1600


def test_short_steps_of_a_global_batch_are_timed_as_long_ones(probe: Probing) -> None:
    """A step of 8 micro-batches that ends after 2 has the speed of a whole one."""
    result = timed(
        probe, "AccumulatingSlowStart", trainer={"accumulate_grad_batches": 8}, micro_batches=2
    )
    assert (8, 16 * 8) == (result["steps"], result["samples"])
    assert 40 < result["samples_per_second"] <= 1600


def test_fast_steps_are_timed_for_the_seconds(probe: Probing) -> None:
    """A probe takes more steps than asked for until the seconds are over."""
    result = timed(probe, "SlowStart", timed_seconds=1.0)
    assert 8 < result["steps"] <= WARM_UP_STEPS + 200 + 1


def test_phases_are_told_only_while_it_warms_up(probe: Probing) -> None:
    """Nothing is written between the timed steps."""
    timed(probe, "SlowStart")
    assert WARM_UP_STEPS == probe.phases.count("forward")
    assert WARM_UP_STEPS == probe.phases.count("optimizer")


def test_training_that_stops_stepping_is_an_error(probe: Probing) -> None:
    """A probe whose optimizer takes no steps any more ends, with the reason."""
    result = timed(probe, "NeverSteps")
    assert "error" == result["outcome"]
    assert "no optimizer step took effect" in result["detail"]
