"""Makes the Trainer of a probe: the user's own, apart from what would disturb a probe.

It writes no files, no callback of Lightning ends the training early or changes what is measured,
and its settings of length are only told.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.failures.out_of_memory import device_memory
from harness.loaders.train_loaders import MODE, train_on_full_batches
from harness.probe_trainer.endless_fit import make_endless_trainer
from harness.probe_trainer.stand_ins import replace_loggers, silence
from harness.workload import attributes
from harness.workload.build import arguments

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from harness.failures.out_of_memory import DeviceMemory
    from harness.loaders.worst_batches import WorstBatches
    from harness.memory_bounds.memory_bound import MemoryBound
    from harness.probe_tasks.zeros.decisions import Decisions
    from harness.probe_trainer.rank_talk import RankTalk
    from harness.protocol.case import BoundSpec
    from harness.workload.build import Workload


class FitWatch:
    """Hooks that every probe needs: silences unsuited callbacks and keeps the first exception.

    `make_callback` mixes it into the `Callback` of the workload's own Lightning package.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.memory: DeviceMemory | None = None
        self.ranks: RankTalk | None = None
        """The talk with other ranks; None in a probe of one process."""

    def setup(self, trainer: Any, _module: Any, stage: str) -> None:
        """Silence unsuited callbacks; by now `configure_callbacks` has added the module's own."""
        del stage
        silence(trainer)

    def on_exception(self, _trainer: Any, _module: Any, exception: BaseException) -> None:
        """Keep the first exception and the device's memory at that time.

        Lightning's own teardown may raise another exception.
        """
        if self.error is None:
            self.error = exception
            self.memory = device_memory()


class _FindWorst:
    """Hooks of a callback that finds the worst batches, before the memory is bounded."""

    def __init__(self, worst: WorstBatches) -> None:
        self.worst = worst

    def on_fit_start(self, *_: Any) -> None:
        """Walk the loaders; by now the user's `setup` has made their data."""
        self.worst.find(MODE)


def loss_of(outputs: Any) -> Any:
    """Return the loss from the output of a training step; None for a batch that it skipped."""
    return outputs.get("loss") if isinstance(outputs, Mapping) else outputs


def make_callback(lightning: Any, watch_class: type, *arguments: Any) -> Any:
    """Make a callback of the workload's Lightning package from a plain class of hooks."""
    return type(watch_class.__name__, (watch_class, lightning.Callback), {})(*arguments)


def talk_of(bound: MemoryBound) -> RankTalk | None:
    """Return the talk of a rank with the others; None in a probe of one process."""
    if bound.place is None or "num_local" in bound.place:
        return None
    # On the CPU each module counts in the memory, so other probes do not import it.
    from harness.probe_trainer.rank_talk import RankTalk  # noqa: PLC0415

    return RankTalk(bound.place)


def make_trainer(
    workload: Workload,
    bound: MemoryBound,
    settings: Mapping[str, Any],
    *,
    callbacks: list[Any],
    limit_val_batches: float = 0,
    whole_epochs: bool = False,
    micro_batches: int | None = None,
) -> Any:
    """Make a Trainer of the workload's Lightning package from the user's and the probe's settings.

    callbacks, limit_val_batches: the probe's.
    whole_epochs: end epochs where the loader ends, and go on with the next one.
    micro_batches: take an optimizer step after at most so many, whatever is told.
    """
    given = dict(settings)
    if (configured := workload.configured) is not None and workload.spec.get("training") is None:
        given = {**configured.trainer, **given}
    logger = given.pop("logger", True)
    given.pop("enable_model_summary", None)  # it only prints
    chosen = arguments(given)
    placed = dict(bound.trainer_arguments)
    trains_itself = workload.spec.get("training") is not None
    if chosen.pop("devices", 1) > 1 and (trains_itself or bound.place is None):
        # A training wraps its model itself, and to describe a workload takes one process.
        chosen.pop("strategy", None)
        placed["devices"] = own_device(bound)
        placed.pop("num_nodes", None)
    trainer = make_endless_trainer(
        workload.lightning,
        told_val_batches=chosen.pop("limit_val_batches", None),
        limit_val_batches=limit_val_batches,
        whole_epochs=whole_epochs,
        callbacks=[*(chosen.pop("callbacks", None) or []), *callbacks],
        **chosen,
        **placed,
        default_root_dir=tempfile.gettempdir(),  # the zygote's own, removed at its end
        enable_model_summary=False,
    )
    if placed["accelerator"] == "cuda":
        _leave_on_gpu(trainer)
    replace_loggers(trainer, told=logger)
    silence(trainer)
    if micro_batches is not None:
        # On the CPU each module counts in the memory, so other probes do not import it.
        from harness.probe_trainer.short_steps import shorten_steps  # noqa: PLC0415

        shorten_steps(trainer, workload.module, micro_batches)
    return trainer


def _leave_on_gpu(trainer: Any) -> None:
    """Let a training end where it was, if its GPU is simulated.

    Lightning would move the module and its optimizers to the CPU, where they have memory. Those of
    seven billion parameters have 80 GB, and the process of a probe ends then.
    """
    from harness.simulated.mark import is_simulated  # noqa: PLC0415 - no probe on the CPU needs it

    if is_simulated():
        trainer.strategy.teardown = lambda: None


def own_device(bound: MemoryBound) -> Any:
    """Return the Trainer's `devices` where it is to use the device of this process alone."""
    on_gpu = bound.trainer_arguments["accelerator"] == "cuda" and bound.place is not None
    return [bound.place["rank"]] if on_gpu and bound.place is not None else 1


def seed_everything(seed: int = 0) -> None:
    """Seed Python's, NumPy's and torch's generators of this process."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the user's transforms may use the global generator
    torch.manual_seed(seed)


def set_batch_size(workload: Workload, batch_size: int) -> None:
    """Set the batch size of a workload, and that of the bucket whose samples its data are."""
    parts = workload.module, workload.datamodule
    attributes.set_batch_size(*parts, batch_size, attr=workload.spec["batch_size_attr"])
    if (edge := workload.spec.get("edge")) is not None:
        attributes.set_bucket_batch_sizes(*parts, {edge: batch_size})


def find_worst(workload: Workload, trainer: Any, batch_size: int) -> WorstBatches | None:
    """Return what finds the worst batches before the training, if the case asks for them."""
    if not workload.spec.get("worst_batches"):
        return None
    # On the CPU each module counts in the memory, so other probes do not import it.
    from harness.loaders.worst_batches import WorstBatches  # noqa: PLC0415

    worst = WorstBatches(workload, batch_size)
    trainer.callbacks.insert(0, make_callback(workload.lightning, _FindWorst, worst))
    return worst


def prepare(
    workload: Workload,
    trainer: Any,
    bound: MemoryBound,
    batch_size: int,
    *,
    worst_case: bool = True,
    endless: bool = True,
) -> Callable[[], list[str]]:
    """Set the batch size, and make `trainer` train on full batches without end.

    endless: else its passes end as the user's do, with their partial batches.

    worst_case: train on the workload's `worst_case_batch`, if it has one, or on the worst batches
    of its loaders, if the case asks for them, instead of its batches.

    Returns a function that tells how these were found, or what a training does not do, in words.
    """
    set_batch_size(workload, batch_size)
    worst = find_worst(workload, trainer, batch_size) if worst_case else None
    train_on_full_batches(
        trainer,
        workload,
        batch_size,
        worst_case=worst_case,
        endless=endless,
        uncounted=bound.uncounted,
        worst=worst,
    )
    if workload.spec.get("training") is not None:
        # On the CPU each module counts in the memory, so other probes do not import it.
        from harness.probe_trainer.own_loops import hand_over  # noqa: PLC0415

        hand_over(trainer, workload, bound)
        return workload.module.notes  # type: ignore[no-any-return]  # of the wrapped training
    return list if worst is None else worst.notes


def consistent_zeros_of(bound: BoundSpec) -> AbstractContextManager[Decisions | None]:
    """Return a block in which values read as zeros do where the GPU is simulated.

    What it needs is imported there alone: on the CPU each module counts in the memory.
    """
    if bound["accelerator"] == "cuda":
        from harness.simulated.mark import is_simulated  # noqa: PLC0415

        if is_simulated():
            from harness.probe_tasks.zeros.table import consistent_zeros  # noqa: PLC0415

            return consistent_zeros(ranks=bound.get("place") is not None)
    return nullcontext()


class TrainingData:
    """The data that a probe trains on: those of the workload."""

    def build(self, workload: Workload) -> Workload:
        """Return the workload with the data to train on."""
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
        """Prepare the training, as `prepare` does."""
        return prepare(workload, trainer, bound, batch_size, worst_case=worst_case, endless=endless)
