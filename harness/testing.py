"""The parametrized test that a user's test module imports: `from harness.testing import test_gpu_profile`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.fixture import GpuProfile

__all__ = ["test_gpu_profile"]


def test_gpu_profile(gpu_profile: GpuProfile) -> None:
    """The case's batch size and learning rate are within the bounds of its locked profile."""
    gpu_profile.assert_within_bounds()
