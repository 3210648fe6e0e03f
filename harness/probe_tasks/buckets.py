"""Trains on the data of one bucket of lengths, or on a batch of each bucket in turn.

The module is the one that the zygote has built, and the data are built here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.loaders.bucket_batches import in_turn, order_of_turns
from harness.loaders.replaced_loaders import replace_for_trainer
from harness.loaders.train_loaders import full_loaders
from harness.probe_tasks.trainer import TrainingData, find_worst, make_callback, set_batch_size
from harness.workload.build import with_data

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.memory_bounds.memory_bound import MemoryBound
    from harness.protocol.messages import BucketBatch
    from harness.workload.build import Workload


class BucketData(TrainingData):
    """The data of one bucket, or of all of them; the last of several is the workload's own."""

    def __init__(self, batches: Sequence[BucketBatch]) -> None:
        self.batches = batches
        self._others: list[tuple[Workload, int]] = []

    def build(self, workload: Workload) -> Workload:
        """Build the data, and return the workload whose data module the Trainer gets."""
        if len(self.batches) == 1:
            return _in_bucket(workload, self.batches[0])
        *smaller, _ = self.batches
        self._others = [(_in_bucket(workload, one), one["batch_size"]) for one in smaller]
        return workload

    def prepare(
        self,
        workload: Workload,
        trainer: Any,
        bound: MemoryBound,
        batch_size: int,
        *,
        worst_case: bool = True,
        endless: bool = True,
    ) -> Callable[[], list[str]]:
        """Prepare a training as `probe_tasks.trainer.prepare` does, on all buckets in turn."""
        if not self._others:
            return super().prepare(
                workload, trainer, bound, batch_size, endless=endless, worst_case=worst_case
            )
        all_sizes = [*self._others, (workload, batch_size)]
        lightning = workload.lightning
        trainer.callbacks.insert(
            0, make_callback(lightning, _SetUpOthers, [one.datamodule for one, _ in self._others])
        )
        worst = [find_worst(one, trainer, size) for one, size in all_sizes]
        makes = [
            full_loaders(one, size, uncounted=bound.uncounted, worst=found)
            for (one, size), found in zip(all_sizes, worst, strict=True)
        ]

        def make(original: Callable[[], Any]) -> Any:
            loaders = []
            for (one, size), make_one in zip(all_sizes, makes, strict=True):
                # The attribute may be the module's, which all of them share.
                set_batch_size(one, size)
                own = one is workload
                loaders.append(make_one(original if own else one.datamodule.train_dataloader))
            return in_turn(lightning, loaders, order_of_turns(len(loaders)))

        set_batch_size(workload, batch_size)
        replace_for_trainer(trainer.fit_loop, workload.loader_owner, "train_dataloader", make)
        return lambda: [note for found in worst if found is not None for note in found.notes()]


class _SetUpOthers:
    """Hooks of a callback that sets up the data of further buckets, as Lightning does the last."""

    def __init__(self, datamodules: list[Any]) -> None:
        self.datamodules = datamodules

    def setup(self, trainer: Any, _module: Any, stage: str) -> None:
        """Call the hooks of each data module."""
        for datamodule in self.datamodules:
            datamodule.trainer = trainer
            datamodule.prepare_data()
            datamodule.setup(stage)


def _in_bucket(workload: Workload, batch: BucketBatch) -> Workload:
    bucket = batch["bucket"]
    built = with_data(workload, bucket["data"], bucket["collate_fn"])
    return replace(built, spec={**built.spec, "edge": bucket["edge"]})
