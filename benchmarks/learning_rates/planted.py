"""A reference workload with a change planted that may move its best learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from profiles.workloads import ImageClassifier

if TYPE_CHECKING:
    from profiles.workloads import Batch


class Planted(ImageClassifier):
    """An image classifier with another optimizer, loss or network.

    Args:
        arch: `alexnet`, `resnet` or `vit`.
        resolution: side of the square images, in pixels.
        lr: learning rate, which the LR range test replaces.
        optimizer: `adamw`, `adam, eps 0.01` or `sgd`, which has a momentum of 0.9.
        loss_factor: what the loss is multiplied by; the range test sees the product.
        summed: whether the loss is summed over the batch.
        logits_factor: what the logits are multiplied by.
        pixels_factor: what the images are multiplied by.
        normalised: whether the network keeps its normalisation.

    """

    def __init__(
        self,
        arch: str,
        resolution: int,
        lr: float = 1e-3,
        *,
        optimizer: str = "adamw",
        loss_factor: float = 1.0,
        logits_factor: float = 1.0,
        pixels_factor: float = 1.0,
        summed: bool = False,
        normalised: bool = True,
    ) -> None:
        super().__init__(arch, resolution, lr)
        self.optimizer = optimizer
        self.loss_factor = loss_factor
        self.summed = summed
        self.logits_factor = logits_factor
        self.pixels_factor = pixels_factor
        if not normalised:
            _without_normalisation(self.model)

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Return the changed loss of the batch."""
        images, labels = batch
        logits = self.logits_factor * self.model(self.pixels_factor * images)
        reduction = "sum" if self.summed else "mean"
        loss = nn.functional.cross_entropy(logits, labels, reduction=reduction)
        return self.loss_factor * loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Train with the optimizer that was asked for."""
        if self.optimizer == "sgd":
            return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)
        if self.optimizer == "adam, eps 0.01":
            return torch.optim.Adam(self.parameters(), lr=self.lr, eps=0.01)
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


def _without_normalisation(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, nn.Identity())
        else:
            _without_normalisation(child)


AdamW: dict[str, Any] = {}
SGD: dict[str, Any] = {"optimizer": "sgd"}
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "AdamW becomes SGD": (AdamW, SGD),
    "AdamW becomes Adam, eps 0.01": (AdamW, {"optimizer": "adam, eps 0.01"}),
    "AdamW, logits x 10": (AdamW, {"logits_factor": 10.0}),
    "AdamW, pixels x 10": (AdamW, {"pixels_factor": 10.0}),
    "AdamW, normalisation removed": (AdamW, {"normalised": False}),
    "SGD becomes AdamW": (SGD, AdamW),
    "SGD, loss x 3": (SGD, {**SGD, "loss_factor": 3.0}),
    "SGD, loss x 10": (SGD, {**SGD, "loss_factor": 10.0}),
    "SGD, loss / 10": (SGD, {**SGD, "loss_factor": 0.1}),
    "SGD, loss summed": (SGD, {**SGD, "summed": True}),
    "SGD, logits x 3": (SGD, {**SGD, "logits_factor": 3.0}),
    "SGD, normalisation removed": (SGD, {**SGD, "normalised": False}),
}
"""What is locked, and what is then tried; both are arguments of `Planted`."""
FROM_ADAMW = tuple(change for change, (before, _) in CHANGES.items() if before == AdamW)[:-1]
"""Without the last, which removes batch normalisation."""
