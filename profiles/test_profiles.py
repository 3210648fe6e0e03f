"""The reference matrix as tests: `pytest --gpu-profile`."""

from harness.testing import test_gpu_profile

__all__ = ["test_gpu_profile"]
