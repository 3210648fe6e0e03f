"""Reads the locked values as a training script does: checked by mypy, never run."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from torch import Tensor

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
