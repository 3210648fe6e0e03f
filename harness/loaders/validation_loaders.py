"""Finds out whether a workload has validation, and sets the batch size of its loaders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import NoFullBatchError
from harness.loaders.batch_counts import BatchCounter, WrongBatchSizeError, stated_batch_size
from harness.loaders.counted_batches import CountedBatches
from harness.loaders.full_batches import COUNT_SAMPLES, length_of_pass
from harness.loaders.passes import samples_in_pass
from harness.loaders.replaced_loaders import combined, iterated_as, replace_for_trainer
from harness.workload import attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.workload.build import Workload

_DATA = {"validate": "validation", "test": "test", "predict": "predict"}
"""What the data of a function of the Trainer are called."""


class FullFirstBatch:
    """A loader of validation or inference whose first batch is full; smaller ones are left out.

    Raises NoFullBatchError when no batch is full, and WrongBatchSizeError when the loader turns out
    to ignore `batch_size`.

    count_samples: the user's hook.
    function: the function of the Trainer that reads it.
    """

    def __init__(
        self,
        loader: Any,
        batch_size: int,
        count_samples: Callable[[Any], int] | None = None,
        function: str = "validate",
    ) -> None:
        self.loader = loader
        self.batch_size = batch_size
        self.count_samples = count_samples
        self.function = function

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        stated = stated_batch_size(self.loader)
        counter = BatchCounter(self.batch_size, stated, self.count_samples)
        num_in_pass = length_of_pass(self.loader)
        found_full = False
        for index, (items, batch) in enumerate(CountedBatches(self.loader)):
            if not found_full:
                last = None if num_in_pass is None else index + 1 >= num_in_pass
                fill, found = counter(batch, items, last=last)
                if fill == "larger" or (found == stated and stated != self.batch_size):
                    raise _wrong_batch(found, self.batch_size, self.function)
                found_full = fill == "full"
            if found_full:
                yield batch
        if not found_full:
            which = _DATA[self.function]
            raise NoFullBatchError(f"the {which} data hold no full batch of {self.batch_size}")


def has_validation(workload: Workload) -> bool:
    """Return whether a fit of this workload runs validation: it defines a step and a loader."""
    owner = workload.loader_owner
    if workload.spec.get("training") is not None:
        return bool(workload.module.validates)
    return overridden(workload, workload.module, "validation_step") and overridden(
        workload, owner, "val_dataloader"
    )


def num_validation_samples(workload: Workload) -> int | None:
    """Return the samples in a pass over the validation data; None where they are not known."""
    if not has_validation(workload):
        return None
    try:
        return samples_in_pass(workload.loader_owner.val_dataloader())
    except Exception:  # noqa: BLE001 - a hook may fail at this batch size; the probes will tell
        return None


def validate_on_full_batches(trainer: Any, workload: Workload, batch_size: int) -> None:
    """Make `trainer` validate on batches of `batch_size`, whatever training's batch is.

    If the data module has an attribute of its own for it (`validation_batch_size`,
    `val_batch_size`, `eval_batch_size`, also in its hparams), that is set. Otherwise the common
    `batch_size` is set while the loader is made, and then restored. If there are several loaders (a
    list, a dict), the first batch of each must be full.
    """
    owner = workload.loader_owner
    attr = workload.spec["batch_size_attr"]

    def made(original: Callable[[], Any]) -> Any:
        if attributes.set_validation_batch_size(owner, batch_size):
            return original()
        parts = (workload.module, workload.datamodule)
        training = attributes.get_batch_size(*parts, attr=attr)
        attributes.set_batch_size(*parts, batch_size, attr=attr)
        try:
            return original()
        finally:
            attributes.set_batch_size(*parts, training, attr=attr)

    def make(original: Callable[[], Any]) -> Any:
        return iterated_as(combined(workload.lightning, made(original), "sequential"), insisting)

    def insisting(own: Any) -> Any:
        own.flattened = [
            FullFirstBatch(loader, batch_size, workload.count_samples) for loader in own.flattened
        ]
        return own

    replace_for_trainer(trainer.fit_loop.epoch_loop.val_loop, owner, "val_dataloader", make)


def _wrong_batch(found: int | None, asked: int, function: str) -> WrongBatchSizeError:
    which = _DATA[function]
    return WrongBatchSizeError(
        f"the {which} loader gave a batch of {found} samples when the {which} batch size was set "
        f"to {asked}: it must come from "
        f"{', '.join(attributes.INFERENCE_BATCH_SIZE_NAMES[function])} of "
        "the data module or its hparams, or from where training's batch size is set. "
        f"{COUNT_SAMPLES}"
    )


def overridden(workload: Workload, thing: Any, name: str) -> bool:
    """Return whether a module or data module has a hook that Lightning's own class has not."""
    if getattr(thing, name, None) is None:  # for Lightning, None means that there is no such hook
        return False
    lightning = workload.lightning
    for parent in (lightning.LightningModule, lightning.LightningDataModule):
        if isinstance(thing, parent) and hasattr(parent, name):
            return getattr(type(thing), name) is not getattr(parent, name)
    return False
