"""Finds out whether a workload has validation, and sets the batch size of its loaders."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from harness.workload import attributes
from harness.workload.train_loaders import (
    NoFullBatchError,
    WrongBatchSizeError,
    num_samples,
    wrap_loaders,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.workload.build import Workload


class FullFirstBatch:
    """A validation loader whose first batch must be a full one.

    Raises NoFullBatchError when the first batch is smaller than `batch_size`, and
    WrongBatchSizeError when it is larger.
    """

    def __init__(self, loader: Any, batch_size: int) -> None:
        self.loader = loader
        self.batch_size = batch_size

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        for index, batch in enumerate(self.loader):
            size = self.batch_size if index else num_samples(batch)
            if size < self.batch_size:
                raise NoFullBatchError(
                    f"the validation data hold no full batch of {self.batch_size}"
                )
            if size > self.batch_size:
                raise WrongBatchSizeError(
                    f"the validation loader gave a batch of {size} samples when the validation "
                    f"batch size was set to {self.batch_size}: it must come from "
                    f"{', '.join(attributes.VALIDATION_BATCH_SIZE_NAMES)} of the data module or "
                    "its hparams, or from where training's batch size is set"
                )
            yield batch


def has_validation(workload: Workload) -> bool:
    """Return whether a fit of this workload runs validation: it defines a step and a loader."""
    owner = workload.loader_owner
    return _overridden(workload, workload.module, "validation_step") and _overridden(
        workload, owner, "val_dataloader"
    )


def num_validation_samples(workload: Workload) -> int | None:
    """Return the length of the validation data set; None without validation or without a length."""
    if not has_validation(workload):
        return None
    try:
        return len(workload.loader_owner.val_dataloader().dataset)
    except (AttributeError, TypeError, NotImplementedError):
        # There is no loader, there are several, or the data are a stream.
        return None


def replace_validation_loader(workload: Workload, batch_size: int) -> None:
    """Make the validation loader give batches of `batch_size`, whatever training's batch is.

    If the data module has an attribute of its own for it (`validation_batch_size`,
    `val_batch_size`, `eval_batch_size`, also in its hparams), that is set. Otherwise the common
    `batch_size` is set while the loader is made, and then restored. If there are several loaders (a
    list, a dict), the first batch of each must be full.
    """
    owner = workload.loader_owner
    attr = workload.spec["batch_size_attr"]
    original = owner.val_dataloader

    @wraps(original)
    def val_dataloader() -> Any:
        if attributes.set_validation_batch_size(owner, batch_size):
            return _insisting(original(), batch_size)
        training = attributes.get_batch_size(workload.module, workload.datamodule, attr=attr)
        attributes.set_batch_size(workload.module, workload.datamodule, batch_size, attr=attr)
        try:
            return _insisting(original(), batch_size)
        finally:
            attributes.set_batch_size(workload.module, workload.datamodule, training, attr=attr)

    owner.val_dataloader = val_dataloader


def _insisting(loaders: Any, batch_size: int) -> Any:
    return wrap_loaders(loaders, lambda loader: FullFirstBatch(loader, batch_size))


def _overridden(workload: Workload, thing: Any, name: str) -> bool:
    if getattr(thing, name, None) is None:  # for Lightning, None means that there is no such hook
        return False
    lightning = workload.lightning
    for parent in (lightning.LightningModule, lightning.LightningDataModule):
        if isinstance(thing, parent) and hasattr(parent, name):
            return getattr(type(thing), name) is not getattr(parent, name)
    return False
