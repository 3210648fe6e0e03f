"""Global batches that a locked profile makes exactly, on one rank and on several."""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import Any

import pytest
from measurements import locked

from harness.errors import HarnessError
from harness.measurement import DeviceIdentity

STEP: dict[str, Any] = {
    "batch_size": 320,
    "accumulate_grad_batches": 3,
    "global_batch_size": 960,
    "validation_batch_size": 512,
}


@pytest.mark.parametrize(
    ("total", "ranks", "expected"),
    [
        (None, 1, (320, 3)),
        (None, 4, (240, 1)),
        (None, 2, (240, 2)),
        (1024, 1, (256, 4)),
        (1024, 8, (128, 1)),
        (10, 1, (10, 1)),
    ],
)
def test_largest_micro_batch_that_divides_is_taken(
    total: int | None, ranks: int, expected: tuple[int, int]
) -> None:
    """Micro-batch x accumulation x ranks is the global batch, and the locked batch is the most."""
    found = locked(**STEP).accumulation(total, num_ranks=ranks)
    assert expected == found
    device = DeviceIdentity("NVIDIA H200", 1 << 37, ranks)
    assert found == locked(**STEP, device=device).accumulation(total)
    assert (total or 960) == found.batch_size * found.accumulate_grad_batches * ranks


@pytest.mark.parametrize(
    ("total", "ranks", "settings", "expected"),
    [
        (1000, 3, {}, "3 ranks do not divide it; the nearest that can: 999 and 1002"),
        (2, 4, {}, "4 ranks do not divide it; the nearest that can: 4"),
        (
            1021,
            1,
            {"search.min_batch_size": 64, "search.round_to": 8},
            (
                "up to the locked one, 320, makes it (search.min_batch_size 64, search.round_to 8); "
                "the nearest that can: 1008 and 1024"
            ),
        ),
        (0, 1, {}, "global_batch_size=0: a whole number from 1"),
        (1024, True, {}, "num_ranks=True: a whole number from 1"),
        (2.5, 1, {}, "global_batch_size=2.5: a whole number from 1"),
    ],
)
def test_what_cannot_be_made_is_refused_with_the_nearest(
    total: Any, ranks: Any, settings: dict[str, int], expected: str
) -> None:
    """The error gives the reason, and the nearest global batches that can be made."""
    with pytest.raises(HarnessError) as caught:
        locked(**STEP, settings=settings).accumulation(total, num_ranks=ranks)
    assert expected in str(caught.value)


def test_profile_without_a_global_batch_needs_one() -> None:
    """A lock without a global batch says how to name one."""
    with pytest.raises(HarnessError, match="name one with global_batch_size="):
        locked().accumulation()


def test_tiny_micro_batch_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A prime can only be made of single samples: a warning names what keeps the device busy."""
    with caplog.at_level(logging.WARNING, "harness"):
        assert (1, 1021) == locked(**STEP).accumulation(1021)
    assert [True] == ["a global batch of 960 or 1280 would" in one for one in caplog.messages]


def test_arguments_of_transformers_are_the_locked_values() -> None:
    """They hold batch sizes, accumulation and learning rate, for the ranks that are given."""
    tuned = locked(**STEP, num_workers=0)
    assert {
        "per_device_train_batch_size": 320,
        "gradient_accumulation_steps": 3,
        "per_device_eval_batch_size": 512,
        "dataloader_num_workers": 0,
        "learning_rate": 0.00316,
    } == tuned.training_arguments()
    alone = tuned.training_arguments(num_ranks=4, learning_rate=False)
    assert (240, 1) == tuple(alone.values())[:2]
    assert "learning_rate" not in alone


def test_arguments_without_a_global_batch_accumulate_nothing() -> None:
    """Without a global batch a step is one locked batch; without validation there is no size."""
    assert {
        "per_device_train_batch_size": 3328,
        "gradient_accumulation_steps": 1,
    } == locked(validation_batch_size=None).training_arguments(learning_rate=False)


def test_arguments_of_a_profiled_trainer_keep_its_own_accumulation() -> None:
    """It was profiled with it; TrainingArguments that say it, too, would have it twice."""
    tuned = locked(validation_batch_size=None, workload={"trainer": "transformers.trainer.Trainer"})
    given = tuned.training_arguments()
    assert {"per_device_train_batch_size": 3328, "learning_rate": 0.00316} == given
    transformers = pytest.importorskip("transformers")
    args = transformers.TrainingArguments(
        output_dir="unused", gradient_accumulation_steps=4, use_cpu=True, **given
    )
    assert (3328, 4, 0.00316) == (
        args.per_device_train_batch_size,
        args.gradient_accumulation_steps,
        args.learning_rate,
    )


def test_arguments_without_a_learning_rate_are_refused() -> None:
    """A refused learning rate is told with its reason, and with what to do without one."""
    tuned = locked(learning_rate=None, learning_rate_range=(), lr_refusal="the loss is flat")
    with pytest.raises(HarnessError, match=r"the loss is flat. Leave it out with .*=False"):
        tuned.training_arguments()


def test_transformers_has_the_arguments() -> None:
    """The real TrainingArguments has a field for each of them."""
    transformers = pytest.importorskip("transformers")
    known = {one.name for one in fields(transformers.TrainingArguments)}
    assert set() == locked(**STEP, num_workers=2).training_arguments().keys() - known
