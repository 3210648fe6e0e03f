"""Wraps a plain `nn.Module` in a LightningModule, and a `Dataset` in a LightningDataModule.

The classes are made for one Lightning package at a time, because `lightning.pytorch` and
`pytorch_lightning` refuse each other's modules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader, IterableDataset

from harness.errors import HarnessError

if TYPE_CHECKING:
    from types import ModuleType

    from torch.utils.data import Dataset


class _Supervised:
    """The training of a plain model: forward, loss, optimizer."""

    model: Any
    loss: Any
    make_optimizer: Callable[[Any], Any]
    parameters: Callable[[], Any]

    def training_step(self, batch: Any, _batch_idx: int) -> Any:
        return self._loss(batch)

    def validation_step(self, batch: Any, _batch_idx: int) -> Any:
        return self._loss(batch)

    def configure_optimizers(self) -> Any:
        return self.make_optimizer(self.parameters())

    def _loss(self, batch: Any) -> Any:
        if isinstance(batch, Mapping):
            # By the convention of transformers, the model takes keyword arguments and returns an
            # output that holds the loss.
            output = self.model(**batch)
            loss = (
                output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
            )
            if loss is None:
                raise HarnessError(
                    f"{type(self.model).__qualname__} was given a batch of keyword arguments "
                    f"{sorted(batch)} and returned no `loss`: add labels to the batch, or use a "
                    "data set of (input, target) pairs"
                )
            return loss
        inputs, target = batch
        output = self.model(inputs)
        return self.loss(getattr(output, "logits", output), target)


class _Loaders:
    """The loaders of one data set: training shuffles it, validation keeps its order."""

    dataset: Dataset[Any]
    batch_size: int

    def train_dataloader(self) -> DataLoader[Any]:
        stream = isinstance(self.dataset, IterableDataset)  # it has an order of its own
        return DataLoader(self.dataset, batch_size=self.batch_size, shuffle=not stream)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.dataset, batch_size=self.batch_size)


def wrap_module(
    lightning: ModuleType,
    module: Any,
    loss: Any,
    optimizer: Callable[..., Any],
    optimizer_args: Mapping[str, Any],
) -> Any:
    """Make a LightningModule that trains `module`.

    Its loss is `loss(module(input), target)`, or the model's own for a batch of keyword arguments.
    """
    kind = type("Supervised", (_Supervised, lightning.LightningModule), {})
    wrapped = kind()
    wrapped.model = module
    wrapped.loss = loss
    wrapped.make_optimizer = lambda parameters: optimizer(parameters, **optimizer_args)
    # Pretrained models come in evaluation mode. Lightning keeps it, and dropout would be off.
    wrapped.train()
    return wrapped


def wrap_dataset(lightning: ModuleType, dataset: Dataset[Any]) -> Any:
    """Make a LightningDataModule with a `batch_size` that trains and validates on `dataset`."""
    wrapped = type("Loaders", (_Loaders, lightning.LightningDataModule), {})()
    wrapped.dataset = dataset
    wrapped.batch_size = 1
    return wrapped
