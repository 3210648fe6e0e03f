"""Measurements and locked profiles for the tests, by default of one fixed case."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.lockfile.profiles import LockedProfile
from harness.measurement import DeviceIdentity, Measurement

H200 = DeviceIdentity("NVIDIA H200", 150754820096)
A100 = DeviceIdentity("NVIDIA A100-SXM4-40GB", 42949672960)
CPU = DeviceIdentity("cpu", 536870912)


def measurement(**changes: Any) -> Measurement:
    """Return the measurement of resnet18 on an H200 at 224 px, with these changes."""
    values: dict[str, Any] = {
        "axes": {"model": "resnet18", "gpu": "h200", "resolution": 224},
        "device": H200,
        "emulated": False,
        "max_batch_size": 3712,
        "bounded_by": "memory",
        "batch_size": 3328,
        "fingerprint": "sha256:f1",
        "recipe": "sha256:r1",
        "memory_limit_bytes": 135711850905,
        "peak_memory_bytes": 125876543488,
        "validation_batch_size": 8192,
        "learning_rate": 0.00316,
        "learning_rates": (0.0031, 0.00316, 0.0034),
        "lr_horizon": 40,
        "samples_per_second": 10340.0,
        "workload": {"module": "zoo.Net", "num_parameters": 11181642, "parameters": "sha256:p1"},
        "settings": {"trainer.precision": "bf16-mixed"},
        "made_with": {
            "torch": "2.11.0",
            "cuda": "13.0",
            "driver": "580.159.03",
            "lightning": "2.6.6",
        },
    }
    values |= changes
    values.setdefault("learning_rate_range", range_around(values["learning_rate"]))
    return Measurement(**values)


def range_around(rate: float | None) -> tuple[float, ...]:
    """Return the range that is x1.5 to each side of a rate, with the digits of the lockfile."""
    return () if rate is None else (float(f"{rate / 1.5:.4g}"), float(f"{rate * 1.5:.4g}"))


def locked(**changes: Any) -> LockedProfile:
    """Return the locked profile of that case; `model`, `gpu` and `resolution` change its axes."""
    axes = {"model": "resnet18", "gpu": "h200", "resolution": 224}
    axes |= {axis: changes.pop(axis) for axis in tuple(axes) if axis in changes}
    profile = LockedProfile.from_measurement(measurement(axes=axes))
    if "learning_rate" in changes:
        changes.setdefault("learning_rate_range", range_around(changes["learning_rate"]))
    return replace(profile, **changes)
