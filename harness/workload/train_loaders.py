"""Makes training loaders endless, with full batches of the probe's size only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any

import torch

from harness.errors import HarnessError

# The length of an endless loader. It is finite because schedulers compute with it, and no probe
# gets that far.
_LENGTH = 1_000_000
# torch's RandomSampler raises this for an empty data set. Without shuffling, the loader of an empty
# data set just has no batches.
_NO_SAMPLES = "num_samples should be a positive integer value, but got num_samples=0"


class NoFullBatchError(Exception):
    """The data hold no full batch of the probe's size."""


class WrongBatchSizeError(HarnessError):
    """The loader's batches do not have the size that was set."""


class FullBatches:
    """Repeats a loader for ever and leaves out its last, partial batch.

    It wraps the loader that the user's `train_dataloader` returns, so workers, samplers and
    collation are the user's. Raises NoFullBatchError when a whole pass has no full batch, and
    WrongBatchSizeError when a batch other than the last one differs from `batch_size`.
    """

    def __init__(self, loader: Any, batch_size: int) -> None:
        self.loader = loader
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[Any]:
        while True:
            full = False
            partial = None
            for batch in self.loader:
                size = num_samples(batch)
                if partial is not None or size > self.batch_size:
                    found = size if partial is None else partial
                    raise WrongBatchSizeError(
                        f"the training loader gave a batch of {found} samples when the batch size "
                        f"was set to {self.batch_size}: its batch size must come from the "
                        "attribute that is set (`batch_size` on the module, its hparams, the data "
                        "module or its hparams; another one can be named with `batch_size_attr`)"
                    )
                if size == self.batch_size:
                    full = True
                    yield batch
                else:
                    partial = size
            if not full:
                raise NoFullBatchError(f"the training data hold no full batch of {self.batch_size}")


class SizedFullBatches(FullBatches):
    """Full batches of a loader with a length, for which Lightning fetches no batch ahead."""

    def __len__(self) -> int:
        return _LENGTH


class WorstCaseBatches:
    """Gives worst-case batches for ever, from the data module's `worst_case_batch(batch_size)`."""

    def __init__(self, worst_case_batch: Callable[[int], Any], batch_size: int) -> None:
        self.worst_case_batch = worst_case_batch
        self.batch_size = batch_size

    def __len__(self) -> int:
        return _LENGTH

    def __iter__(self) -> Iterator[Any]:
        while True:
            batch = self.worst_case_batch(self.batch_size)
            if (size := num_samples(batch)) != self.batch_size:
                raise WrongBatchSizeError(
                    f"worst_case_batch({self.batch_size}) gave {size} samples"
                )
            yield batch


def num_samples(batch: Any) -> int:
    """Return the number of samples in a batch: the first dimension of its first tensor with one.

    Raises WrongBatchSizeError when there is no such tensor.
    """
    size = _first_dimension(batch)
    if size is None:
        raise WrongBatchSizeError(
            f"cannot count the samples in a batch of type {type(batch).__qualname__}: it holds no "
            "tensor"
        )
    return size


def replace_train_loader(
    owner: Any, batch_size: int, worst_case_batch: Callable[[int], Any] | None
) -> None:
    """Make `owner.train_dataloader` return a loader of endless full batches.

    owner: the data module, or the module without one. If it has several loaders (a list, a dict),
    each is repeated with its own batch size, or with `batch_size` if it has none.

    worst_case_batch: the data module's hook, which then replaces the loaders.
    """
    original = owner.train_dataloader

    # Lightning looks through functools.wraps to find out whether the hook is overridden.
    @wraps(original)
    def train_dataloader() -> Any:
        if worst_case_batch is not None:
            return WorstCaseBatches(worst_case_batch, batch_size)
        try:
            loaders = original()
        except ValueError as error:
            if _NO_SAMPLES not in str(error):
                raise
            raise NoFullBatchError("the training data are empty") from error
        if not hasattr(loaders, "flattened") and not isinstance(loaders, (Mapping, list, tuple)):
            return _endless(loaders, batch_size)
        return wrap_loaders(
            loaders,
            lambda loader: _endless(loader, getattr(loader, "batch_size", None) or batch_size),
        )

    owner.train_dataloader = train_dataloader


def wrap_loaders(loaders: Any, wrap: Callable[[Any], Any]) -> Any:
    """Wrap each loader that a hook of Lightning's returned.

    loaders: one loader, a list or mapping of loaders, or Lightning's CombinedLoader.
    """
    if hasattr(loaders, "flattened"):
        loaders.flattened = [wrap(loader) for loader in loaders.flattened]
        return loaders
    if not isinstance(loaders, (Mapping, list, tuple)):
        return wrap(loaders)
    # torch has no public tree_map; Lightning uses this one, too.
    return torch.utils._pytree.tree_map(wrap, loaders)  # noqa: SLF001 - see above


def _endless(loader: Any, batch_size: int) -> FullBatches:
    try:
        len(loader)
    except (TypeError, NotImplementedError):
        # A stream has no length, and some streams raise NotImplementedError.
        return FullBatches(loader, batch_size)
    return SizedFullBatches(loader, batch_size)


def _first_dimension(batch: Any) -> int | None:
    if isinstance(batch, torch.Tensor):
        return int(batch.shape[0]) if batch.ndim else None
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    elif hasattr(batch, "__dataclass_fields__"):
        batch = [getattr(batch, name) for name in batch.__dataclass_fields__]
    if isinstance(batch, (list, tuple)):
        for item in batch:
            size = _first_dimension(item)
            if size is not None:
                return size
    return None
