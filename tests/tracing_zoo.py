"""Workloads with habits that a trace has to see through, each beside the memory it takes on a GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from zoo import Batch, Net

KEPT_FLOATS = 1 << 20


class Contrastive(Net):
    """Compares all samples with all."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """Cross-entropy over the similarities of the batch's samples."""
        outputs = self.layers(batch[0])
        return nn.functional.cross_entropy(outputs @ outputs.T, torch.arange(len(outputs)))


class WithoutAutocast(Net):
    """Turns autocast off by CUDA's name."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """Train in float32, whatever the Trainer's precision is."""
        with torch.autocast("cuda", enabled=False):
            return super().loss(batch)


class OldAutocast(Net):
    """Turns autocast on by the name it had first."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """Train in float16, in a Trainer of float32."""
        with torch.cuda.amp.autocast():
            return super().loss(batch)


class SkipsNan(Net):
    """Skips a batch whose loss is no number."""

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor | None:  # type: ignore[override] # Lightning takes it
        """Return None for such a loss."""
        loss = self.loss(batch)
        return loss if torch.isfinite(loss) else None


class Asserts(Net):
    """Makes sure that the loss is a number."""

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Raise for such a loss."""
        loss = self.loss(batch)
        assert not torch.isnan(loss).any()
        assert torch.isfinite(loss).all()
        return loss


class NeverSteps(Net):
    """Has no loss."""

    def training_step(self, _batch: Batch, _batch_idx: int) -> None:  # type: ignore[override] # Lightning takes it
        """Return None."""


class Cached(Net):
    """Keeps a tensor that it moves to its device in the first step, though it is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = torch.zeros(KEPT_FLOATS)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Add a number of it."""
        self.cache = self.cache.to(self.device)
        return super().loss(batch) + self.cache[0]


class Averaged(Net):
    """Averages its weights in a copy that is put on the GPU by name, and weighs losses there."""

    def setup(self, stage: str) -> None:
        """Copy before the weights themselves are moved, as Lightning's callback does."""
        del stage
        # In a list it is no submodule, which the trainer would move.
        self.averages = [AveragedModel(self.layers, device=torch.device("cuda", 0))]

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Weigh a loss."""
        return self.loss(batch) * torch.tensor(0.5, device="cuda")

    def on_train_batch_end(self, *_: Any) -> None:
        """Average."""
        self.averages[0].update_parameters(self.layers)


class Leaks(Net):
    """Keeps the hidden layer of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[torch.Tensor] = []

    def loss(self, batch: Batch) -> torch.Tensor:
        """Add to the list."""
        self.kept.append(self.layers[0](batch[0]).detach())
        return super().loss(batch)


class Sparse(Net):
    """Has sparse gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(100, 16, sparse=True)
        self.layers = nn.Sequential(nn.Identity())

    def loss(self, batch: Batch) -> torch.Tensor:
        """Look classes up."""
        return self.table(batch[1]).square().mean()  # type: ignore[no-any-return] # a tensor

    def configure_optimizers(self) -> Any:
        """Use the optimizer for them."""
        return torch.optim.SparseAdam(list(self.table.parameters()))
