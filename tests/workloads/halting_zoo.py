"""A workload that halts in the phase that the environment names. Tests copy it into a project."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import zoo
from halting import halt

if TYPE_CHECKING:
    import torch


class Net(zoo.Net):
    """Halts while it is built, trained, validated or swept."""

    def __init__(self) -> None:
        super().__init__(width=64)
        # A sweep builds its module in its own process. A probe of the search is a fork, whose
        # module the zygote has built.
        self.built_in = os.getpid()
        halt("build")

    def training_step(self, batch: zoo.Batch, batch_idx: int) -> torch.Tensor:
        """Halt, or train as usual."""
        halt("sweep" if os.getpid() == self.built_in else "train")
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: zoo.Batch, batch_idx: int) -> None:
        """Halt, or validate as usual."""
        halt("validation")
        super().validation_step(batch, batch_idx)


class Numbers(zoo.Numbers):
    """Halts while its data are set up."""

    def setup(self, stage: str) -> None:  # noqa: ARG002 - Lightning names it
        """Halt; there is nothing to set up."""
        halt("describe")
