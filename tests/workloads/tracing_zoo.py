"""Workloads with habits that a trace must record as a training on a GPU would run them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from zoo import Batch, Net

KEPT_FLOATS = 1 << 20


class Contrastive(Net):
    """Compares every sample with every other one."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the cross-entropy over the similarities of the batch's samples."""
        outputs = self.layers(batch[0])
        return nn.functional.cross_entropy(outputs @ outputs.T, torch.arange(len(outputs)))


class WithoutAutocast(Net):
    """Turns autocast off for "cuda"."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """Train in float32, whatever the Trainer's precision is."""
        with torch.autocast("cuda", enabled=False):
            return super().loss(batch)


class OldAutocast(Net):
    """Turns autocast on by its old name."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """Train in float16, although the Trainer's precision is float32."""
        with torch.cuda.amp.autocast():
            return super().loss(batch)


class SkipsNan(Net):
    """Skips a batch whose loss is not finite."""

    def training_step(  # type: ignore[override] # Lightning accepts None
        self, batch: Batch, _batch_idx: int
    ) -> torch.Tensor | None:
        """Return None instead of such a loss."""
        loss = self.loss(batch)
        return loss if torch.isfinite(loss) else None


class Asserts(Net):
    """Asserts that the loss is finite."""

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Return the loss, or raise."""
        loss = self.loss(batch)
        assert not torch.isnan(loss).any()
        assert torch.isfinite(loss).all()
        return loss


class NeverSteps(Net):
    """Has no loss, so that no step takes effect."""

    def training_step(  # type: ignore[override] # Lightning accepts None
        self, _batch: Batch, _batch_idx: int
    ) -> None:
        """Return None."""


class Cached(Net):
    """Keeps a tensor that is no buffer, and moves it to its device in the first step."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = torch.zeros(KEPT_FLOATS)

    def loss(self, batch: Batch) -> torch.Tensor:
        """Add a value of the tensor to the loss."""
        self.cache = self.cache.to(self.device)
        return super().loss(batch) + self.cache[0]


class Averaged(Net):
    """Averages its weights in a copy on the GPU, and scales the loss there; both name "cuda"."""

    def setup(self, stage: str) -> None:
        """Copy the weights before they are moved themselves, as Lightning's callback does."""
        del stage
        # A list hides the copy from the Trainer, which would move a submodule.
        self.averages = [AveragedModel(self.layers, device=torch.device("cuda", 0))]

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Scale the loss."""
        return self.loss(batch) * torch.tensor(0.5, device="cuda")

    def on_train_batch_end(self, *_: Any) -> None:
        """Average the weights."""
        self.averages[0].update_parameters(self.layers)


class Leaks(Net):
    """Keeps the hidden layer of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[torch.Tensor] = []

    def loss(self, batch: Batch) -> torch.Tensor:
        """Add the hidden layer to the list."""
        self.kept.append(self.layers[0](batch[0]).detach())
        return super().loss(batch)


class Sparse(Net):
    """Has sparse gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(100, 16, sparse=True)
        self.layers = nn.Sequential(nn.Identity())

    def loss(self, batch: Batch) -> torch.Tensor:
        """Look the classes up in the table."""
        return self.table(batch[1]).square().mean()  # type: ignore[no-any-return] # a tensor

    def configure_optimizers(self) -> Any:
        """Use the optimizer for sparse gradients."""
        return torch.optim.SparseAdam(list(self.table.parameters()))
