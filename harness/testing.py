"""Provides the test of every case, for a user's test module to import.

    from harness.testing import test_gpu_profile

Runs in pytest's process. `GpuProfile` is the type of the fixture `gpu_profile`, for annotations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness._lazy import lazy

if TYPE_CHECKING:
    from harness.run.fixture import GpuProfile

__all__ = ["GpuProfile", "test_gpu_profile"]

# On first use, so that without --gpu-profile a module that imports the test costs nothing.
__getattr__, __dir__ = lazy(
    __name__, {"GpuProfile": "harness.run.fixture", "test_gpu_profile": __name__}
)


def test_gpu_profile(gpu_profile: GpuProfile) -> None:
    """The case's batch size and learning rate are within the bounds of its locked profile."""
    gpu_profile.assert_within_bounds()
