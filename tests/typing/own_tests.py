"""Writes tests on the fixture as a project does: checked by mypy, never run."""

from __future__ import annotations

from typing import assert_type

from harness.lockfile import LockedProfile
from harness.measurement import Measurement, Probe
from harness.testing import GpuProfile
from harness.testing import test_gpu_profile as imported_test

assert_type(imported_test.__doc__, str | None)


def batch_is_worth_a_gpu(gpu_profile: GpuProfile) -> None:
    """Judge the measurement by a project's own standard."""
    gpu_profile.assert_within_bounds()
    assert_type(gpu_profile.measurement, Measurement)
    assert_type(gpu_profile.measurement.batch_size, int)
    assert_type(gpu_profile.measurement.samples_per_second, float | None)
    assert_type(gpu_profile.measurement.probes, tuple[Probe, ...])
    assert_type(gpu_profile.locked, LockedProfile | None)
    assert_type(gpu_profile.case.id, str)
    assert_type(gpu_profile.case.search.round_to, int)

    gpu_profile.measurement.batch_size = 64  # type: ignore[misc] # what was found is not changed
    gpu_profile.locked.batch_size  # type: ignore[union-attr]  # noqa: B018 - it may not be locked
