"""Reads the locked values as a training script does: checked by mypy, never run."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, TensorDataset

import harness
from harness.case_names import Scalar
from harness.synthetic import SyntheticImages, SyntheticTokens


def read() -> None:
    """Ask for a profile in every way, and use its values."""
    tuned = harness.load_profile("resnet18")
    assert_type(tuned, harness.LockedProfile)
    harness.load_profile("resnet18", resolution=224, gpu="h200", lock="gpu-profile.lock")
    harness.load_profile("resnet18", lock=Path("gpu-profile.lock"), precision="bf16-mixed")

    assert_type(tuned.batch_size, int)
    assert_type(tuned.validation_batch_size, int | None)
    assert_type(tuned.learning_rate, float | None)
    assert_type(tuned.axes, dict[str, Scalar])
    assert_type(tuned.device.memory_bytes, int)

    Trainer(precision=harness.load_profile("resnet18", precision="recommended").precision)

    harness.load_profile(resolution=224)  # type: ignore[call-arg] # a model has to be named
    tuned.batch_size = 1  # type: ignore[misc] # committed values are not changed


def apply(module: object, datamodule: object) -> None:
    """Set the values on whatever is trained."""
    tuned = harness.load_profile("resnet18")
    harness.apply(tuned, module)
    harness.apply(tuned, module, datamodule, learning_rate=False)
    harness.apply(
        tuned, module, batch_size_attr="config.batch_size", learning_rate_attr="config.lr"
    )

    harness.apply(module, tuned)  # type: ignore[arg-type] # the profile comes first
    harness.apply(tuned, module, datamodule, False)  # type: ignore[call-arg] # by name only


def by_callback() -> None:
    """Let a Trainer apply the profile."""
    tuned = harness.load_profile("resnet18")
    callback = harness.profile_callback(tuned, batch_size_attr="config.batch_size")
    assert_type(callback, Callback)
    Trainer(callbacks=[callback])

    harness.profile_callback("resnet18")  # type: ignore[arg-type] # a profile, not its label


def schedule(optimizer: torch.optim.Optimizer) -> None:
    """Hand the peak to torch's schedule, and carry values over to another batch size."""
    tuned = harness.load_profile("resnet18")
    OneCycleLR(optimizer, total_steps=100, **tuned.one_cycle(optimizer=optimizer))
    assert_type(tuned.one_cycle(max_factor=2)["cycle_momentum"], bool)
    assert_type(harness.scale_learning_rate(0.1, 64, 128, rule="sqrt"), float)
    assert_type(harness.calculate_adjusted_epochs(90, 256, tuned.batch_size, min_epochs=1), int)
    assert_type(harness.epochs_for_equal_updates(90, 256, tuned.batch_size), int)

    harness.scale_learning_rate(0.1, 64, 128, rule="cube")  # type: ignore[arg-type] # one of two


def study(trial: object) -> None:
    """Suggest values in a study."""
    tuned = harness.load_profile("resnet18")
    assert_type(harness.optuna.suggest_learning_rate(trial, tuned), float)
    assert_type(harness.optuna.suggest_batch_size(trial, tuned, name="size"), int)
    assert_type(harness.optuna.batch_sizes(tuned), list[int])


def bare(model: torch.nn.Module) -> None:
    """Use the batch size of a bare model as the number that it is."""
    found = harness.find_optimal_batch_size(model, (3, 224, 224), budget="8GiB")
    assert_type(found, harness.FoundBatchSize)
    assert_type(found.max_batch_size, int)
    assert_type(found.table, str)
    DataLoader(TensorDataset(torch.zeros(1)), batch_size=found)

    harness.find_optimal_batch_size(model, 224)  # type: ignore[arg-type] # a shape


def fail() -> str:
    """Catch what a user can put right."""
    try:
        harness.load_profile("resnet18")
    except harness.HarnessError as error:
        return str(error)
    return ""


def data() -> None:
    """Use the synthetic data sets."""
    images, tokens = (
        SyntheticImages(224, num_classes=10),
        SyntheticTokens(length=64, vocab_size=100),
    )
    assert_type(images[0], tuple[Tensor, int])
    assert_type(tokens[0], dict[str, Tensor])
