"""Provides the test of every case, for a user's test module to import.

    from harness.testing import test_gpu_profile

Runs in pytest's process. `GpuProfile` is the type of the fixture `gpu_profile`, for annotations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from harness._lazy import lazy

if TYPE_CHECKING:
    from harness.run.fixture import GpuProfile

__all__ = ["GpuProfile", "Training", "test_gpu_profile"]

# On first use, so that without --gpu-profile a module that imports the test costs nothing.
__getattr__, __dir__ = lazy(
    __name__,
    {"GpuProfile": "harness.run.fixture", "Training": __name__, "test_gpu_profile": __name__},
)


class Training(Protocol):
    """What the function returns that `models.LABEL.training` names: any object with a `step()`.

    In its place it may return a function that trains with a loop of its own.

    The function is called with `batch_size`, `device` (a `torch.device`), and its `init_args`. Only
    `step` is needed. Further attributes are used where the object has them:

    - `optimizer`: a torch optimizer, or a list of them. An LR range test sets the rates of one.
    - `model`: an `nn.Module`, or a list or mapping of them. It is the workload's fingerprint.
    - `validate()`: is called once at the end of each probe.
    - `num_samples`: the samples of a pass, an int. No batch is larger.
    """

    def step(self) -> Any:
        """Take one optimizer step on `batch_size` samples, accumulation inside; return the loss.

        The loss is a number or a tensor of one element, or None. The step begins its data anew
        where they end, and takes full batches only.
        """


def test_gpu_profile(gpu_profile: GpuProfile) -> None:
    """The case's batch size and learning rate are within the bounds of its locked profile."""
    gpu_profile.assert_within_bounds()
