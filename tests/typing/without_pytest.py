"""Tunes and estimates as a script does: checked by mypy, never run."""

from __future__ import annotations

from typing import assert_type

from lightning.pytorch import LightningDataModule, LightningModule

import harness
from harness import Estimate, LockedProfile, Tuned


def tune(module: LightningModule, data: LightningDataModule) -> None:
    """Read the result, hand it on, and lock it."""
    tuned = harness.tune(module, data, gpu="cpu-1GiB", search={"max_batch_size": 64})
    assert_type(tuned, Tuned)
    assert_type(tuned.batch_size, int)
    assert_type(tuned.learning_rate, float | None)
    assert_type(tuned.table, str)
    assert_type(tuned.lock("gpu-profile.lock", model="net", resolution=224), LockedProfile)
    harness.apply(tuned, module, data)
    harness.tune(training="pkg.make_training", gpu=0, lock="gpu-profile.lock", progress=False)

    harness.tune(module, gpu=1.5)  # type: ignore[arg-type] # no label and no index
    tuned.batch_size = 64  # type: ignore[misc] # what was found is not changed


def estimate(module: LightningModule) -> None:
    """Ask what fits on a GPU that is not here."""
    found = harness.estimate(module, gpu={"name": "NVIDIA New", "memory": "24GiB"})
    assert_type(found, Estimate)
    assert_type(found.fits(64), bool)
    assert_type(found.peak(64), int)
    assert_type(found.max_batch_size, int)
