"""Wraps a plain `nn.Module` in a LightningModule, and a `Dataset` in a LightningDataModule.

The classes are made for one Lightning package at a time, because `lightning.pytorch` and
`pytorch_lightning` refuse each other's modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from harness.workload.keras_models import KerasCall, is_keras
from harness.workload.model_loss import ModelLoss

if TYPE_CHECKING:
    from types import ModuleType


class _Supervised:
    """The training of a plain model: forward, loss, optimizer."""

    model: Any
    loss: Any
    loss_given: bool
    make_optimizer: Callable[[Any], Any]
    parameters: Callable[[], Any]

    def training_step(self, batch: Any, _batch_idx: int) -> Any:
        # Anew each time: a change of the workload, or a callback, may replace the model.
        return ModelLoss(_callable(self.model), self.loss, given=self.loss_given)(batch)

    def validation_step(self, batch: Any, _batch_idx: int) -> Any:
        return ModelLoss(_callable(self.model), self.loss, given=self.loss_given)(batch)

    def configure_optimizers(self) -> Any:
        return self.make_optimizer(self.parameters())


def _callable(model: Any) -> Any:
    """Return what is called with a batch: the model itself, or what calls a Keras model."""
    return KerasCall(model) if is_keras(model) else model


class _Loaders:
    """The loaders of one data set: training shuffles it, validation keeps its order."""

    dataset: Any
    collate_fn: Callable[[Any], Any] | None
    batch_size: int
    num_workers: int

    def train_dataloader(self) -> DataLoader[Any]:
        stream = isinstance(self.dataset, IterableDataset)  # it has an order of its own
        return self._loader(shuffle=not stream, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(shuffle=False, num_workers=0)

    def _loader(self, *, shuffle: bool, num_workers: int) -> DataLoader[Any]:
        return DataLoader(
            self.dataset,
            batch_size=self.batch_size,
            shuffle=shuffle,
            num_workers=num_workers,
            collate_fn=self.collate_fn,
        )


class _Stream(IterableDataset[Any]):
    """Whatever can be iterated, as a stream of samples; each pass begins anew.

    make: makes the object again. A generator can be iterated only once.
    """

    def __init__(self, samples: Any, make: Callable[[], Any]) -> None:
        self.samples = samples
        self.make = make

    def __iter__(self) -> Iterator[Any]:
        return iter(self.make() if isinstance(self.samples, Iterator) else self.samples)


def wrap_module(
    lightning: ModuleType,
    module: Any,
    loss: Any,
    optimizer: Callable[..., Any],
    optimizer_args: Mapping[str, Any],
    *,
    loss_given: bool,
) -> Any:
    """Make a LightningModule that trains `module`.

    Its loss is the model's own where it computes one, or else `loss(module(input), target)`.

    loss_given: whether the user chose `loss`; a model's own then counts only where a batch has no
    target beside its keyword arguments.
    """
    kind = type("Supervised", (_Supervised, lightning.LightningModule), {})
    wrapped = kind()
    wrapped.model = module
    wrapped.loss = loss
    wrapped.loss_given = loss_given
    wrapped.make_optimizer = lambda parameters: optimizer(parameters, **optimizer_args)
    # Pretrained models come in evaluation mode. Lightning keeps it, and dropout would be off.
    wrapped.train()
    return wrapped


def as_dataset(data: Any, make: Callable[[], Any]) -> Any:
    """Return what torch's `DataLoader` takes as a data set, or None for anything else.

    Data with indices and a length are taken as they are: torch's data sets, lists, arrays,
    `datasets.Dataset`. What can only be iterated becomes a stream.

    make: makes the data again.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, (type, str, bytes, Mapping, DataLoader, nn.Module)):
        return None
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return data
    return _Stream(data, make) if hasattr(data, "__iter__") else None


def wrap_dataset(
    lightning: ModuleType, dataset: Any, collate_fn: Callable[[Any], Any] | None = None
) -> Any:
    """Make a LightningDataModule with a `batch_size` that trains and validates on `dataset`."""
    wrapped = type("Loaders", (_Loaders, lightning.LightningDataModule), {})()
    wrapped.dataset = dataset
    wrapped.collate_fn = collate_fn
    wrapped.batch_size = 1
    wrapped.num_workers = 0
    return wrapped
