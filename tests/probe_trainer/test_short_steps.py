"""Steps that end early take the memory of whole ones, and the Trainer tells the true number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from projects import workload

if TYPE_CHECKING:
    from projects import StartRunner

# What 190 batches more add to the tables of Python, where none of them keeps anything: 37 KB were
# seen. The hidden layers of that many batches, if they were kept, would be 12 MB.
NOISE_BYTES = 128 << 10
ZOO = "accumulating_zoo"


@pytest.mark.parametrize("batch_size", [4, 16])
def test_short_steps_take_the_memory_of_whole_ones(start: StartRunner, batch_size: int) -> None:
    """Of 64 and of 16 micro-batches, two have the peak of all, but for the noise of many."""
    runner = start(workload("zoo.Net"), global_batch_size=256)
    short = runner.train(batch_size, steps=3)
    whole = runner.train(batch_size, steps=3, short_steps=False)
    assert ("fits", 3, 3 * 2 * batch_size) == (short.outcome, short.steps, short.samples)
    assert ("fits", 3, 3 * 256) == (whole.outcome, whole.steps, whole.samples)
    assert short.peak_memory_bytes is not None
    assert whole.peak_memory_bytes == pytest.approx(short.peak_memory_bytes, abs=NOISE_BYTES)


def test_trainer_tells_the_true_accumulation(start: StartRunner) -> None:
    """Three steps of two batches are done where the Trainer tells 32, and 2 steps for an epoch."""
    spec = workload(f"{ZOO}.Telling", data_args={"num_samples": 512})
    runner = start(spec, global_batch_size=256, trainer={"max_epochs": 1})
    probe = runner.train(8, steps=4)
    assert "ValueError: (32, 2), after 3 steps" == probe.detail


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("Accumulates", "a hook or a callback sets trainer.accumulate_grad_batches to 4: remove"),
        ("Manual", "manual optimization does by itself: remove search.global_batch_size"),
    ],
)
def test_accumulation_by_other_means_is_refused(
    start: StartRunner, module: str, expected: str
) -> None:
    """What else sets the accumulation is named with what to do, also in manual optimization."""
    probe = start(workload(f"{ZOO}.{module}"), global_batch_size=256).train(8, steps=2)
    assert "error" == probe.outcome
    assert expected in str(probe.detail)
