"""A workload that halts in the phase that the environment names. Copied into a user's project."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from halting import halt

import zoo

if TYPE_CHECKING:
    import torch


class Net(zoo.Net):
    """Halts while it is built, trained, validated, or swept."""

    def __init__(self) -> None:
        super().__init__(width=64)
        # A sweep builds its module in the probe itself; a probe of the search is a fork of the zygote.
        self.built_in = os.getpid()
        halt("build")

    def training_step(self, batch: zoo.Batch, batch_idx: int) -> torch.Tensor:
        """Train as ever."""
        halt("sweep" if os.getpid() == self.built_in else "train")
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: zoo.Batch, batch_idx: int) -> None:
        """Validate as ever."""
        halt("validation")
        super().validation_step(batch, batch_idx)


class Numbers(zoo.Numbers):
    """Halts while it is set up."""

    def setup(self, stage: str) -> None:  # noqa: ARG002 - Lightning names it
        """Halt, and do nothing else: there is nothing to set up."""
        halt("describe")
