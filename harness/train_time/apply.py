"""Sets the values of a locked profile at train time, only on the workload that it locks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.identity.fingerprint import (
    class_path,
    describe_data,
    describe_module,
    training_dataset,
    workload_changes,
)
from harness.lockfile.rates import why_no_rate
from harness.wording import RELOCK
from harness.workload import attributes

if TYPE_CHECKING:
    from harness.lockfile.profiles import LockedProfile

_log = logging.getLogger("harness")


def apply(
    profile: LockedProfile,
    module: Any,
    datamodule: Any = None,
    *,
    trainer: Any = None,
    learning_rate: bool = True,
    batch_size_attr: str | None = None,
    learning_rate_attr: str | None = None,
) -> None:
    """Set the batch size and the learning rate of a profile where Lightning's Tuner looks for them.

    `module` is the LightningModule that will be trained, `datamodule` its LightningDataModule if it
    has one; `setup` is not called. `learning_rate=False` sets only the batch size.
    `batch_size_attr` and `learning_rate_attr` name other attributes that hold the values, dotted
    (`config.batch_size`).

    `trainer` is the Lightning Trainer: where a global batch is locked, its accumulation is set too,
    and both so that all its processes together make that batch. Without it the values are those of
    one process, and a warning says what the Trainer needs. If the case has several devices, the
    Trainer must have as many.

    Where buckets of lengths are locked, `bucket_batch_sizes` of the data module, of its hparams or
    of the module is set to their batch sizes by edge, if it has that; else a warning says so.

    Where workers of the training loader are locked, `num_workers` of the data module, or of its
    hparams, is set if it has that.

    Raises HarnessError, before anything is set, when the profile is of another workload, when it
    holds no learning rate, when there is no attribute for the learning rate or the batch size, and
    when the Trainer accumulates already, cannot make the locked global batch, or has another number
    of devices than a case of several.
    """
    _refuse_trainings(profile, module, trainer)
    _refuse_other_workload(profile, module, datamodule)
    if learning_rate and profile.learning_rate is None:
        raise HarnessError(
            f"{profile.case_id} is locked without a learning rate: {why_no_rate(profile)}. Set the "
            "batch size alone with learning_rate=False"
        )
    if learning_rate:
        attributes.get_learning_rate(module, datamodule, attr=learning_rate_attr)
        if _is_named_in_matrix(profile, module):
            _warn_of_other_attribute(profile, learning_rate_attr)
    batch_size, accumulated = _step(profile, trainer)
    attributes.set_batch_size(module, datamodule, batch_size, attr=batch_size_attr)
    if trainer is not None and accumulated is not None:
        trainer.accumulate_grad_batches = accumulated
    if learning_rate and profile.learning_rate is not None:
        attributes.set_learning_rate(
            module, datamodule, profile.learning_rate, attr=learning_rate_attr
        )
    if profile.buckets:
        _set_buckets(profile, module, datamodule)
    owner = datamodule if datamodule is not None else module
    if profile.validation_batch_size is not None:
        _set_validation(profile, owner, profile.validation_batch_size)
    if profile.num_workers is not None:
        attributes.set_num_workers(owner, profile.num_workers)


def _step(profile: LockedProfile, trainer: Any) -> tuple[int, int | None]:
    """Return the batch size and the accumulation to set; None leaves the accumulation alone."""
    if profile.num_ranks > 1 and trainer is not None and trainer.num_devices != profile.num_ranks:
        raise HarnessError(
            f"{profile.case_id} is locked on {profile.num_ranks} devices, and the Trainer has "
            f"{trainer.num_devices}: a batch that fits on one number of ranks need not fit on "
            "another one; lock it with trainer.devices of that number, or hand no Trainer over"
        )
    locked = profile.accumulate_grad_batches
    if profile.global_batch_size is None or locked is None:
        return profile.batch_size, None
    if trainer is None:
        if locked > 1:
            _log.warning(
                "%s: batch size %d makes the locked global batch of %d with an accumulation of %d: "
                "hand the Trainer over, as apply(..., trainer=trainer), or make it with "
                "accumulate_grad_batches=tuned.accumulate_grad_batches",
                profile.case_id,
                profile.batch_size,
                profile.global_batch_size,
                locked,
            )
        return profile.batch_size, None
    size, accumulated = profile.accumulation(num_ranks=trainer.world_size)
    if trainer.accumulate_grad_batches not in (1, accumulated):
        raise HarnessError(
            f"{profile.case_id} is locked for a global batch of {profile.global_batch_size}, which "
            f"batch {size} makes with accumulate_grad_batches={accumulated}, and the Trainer has "
            f"{trainer.accumulate_grad_batches}: leave it out of the Trainer"
        )
    return size, accumulated


def _is_named_in_matrix(profile: LockedProfile, module: Any) -> bool:
    """Return whether the matrix names this class, and no plain network inside of it.

    The attribute of a plain network is only known here. A script's class has another path there.
    """
    name = str(profile.workload.get("module")).rpartition(".")[2]
    return name == type(module).__name__


def _warn_of_other_attribute(profile: LockedProfile, attr: str | None) -> None:
    """Warn where the attribute is not the one whose value was measured: the rates would differ."""
    measured = profile.settings.get("learning_rate_attr")
    usual = attributes.LEARNING_RATE_NAMES
    if attr == measured or (measured is None and attr in usual):
        return
    if attr is None and measured in usual:
        return
    _log.warning(
        "%s: the learning rate is a value of %s, and sets %s: name the same attribute here by "
        "learning_rate_attr and in the matrix, so that the optimizer gets the rates that were "
        "measured",
        profile.case_id,
        measured or " or ".join(usual),
        attr or " or ".join(usual),
    )


def _set_buckets(profile: LockedProfile, module: Any, datamodule: Any) -> None:
    if attributes.set_bucket_batch_sizes(module, datamodule, profile.bucket_batch_sizes):
        return
    names = [type(thing).__name__ for thing in (module, datamodule) if thing is not None]
    nobody = f"neither {' nor '.join(names)} has an" if len(names) > 1 else f"{names[0]} has no"
    _log.warning(
        "%s: each bucket of lengths is locked with a batch size of its own, and cannot be set: %s "
        "attribute bucket_batch_sizes. Give it one, and to its loader a batch_sampler, "
        "harness.BucketBatchSampler(lengths, self.bucket_batch_sizes)",
        profile.case_id,
        nobody,
    )


def _set_validation(profile: LockedProfile, owner: Any, batch_size: int) -> None:
    if attributes.set_validation_batch_size(owner, batch_size) or batch_size >= profile.batch_size:
        return
    names = " nor ".join(attributes.VALIDATION_BATCH_SIZE_NAMES)
    _log.warning(
        "%s: validation is locked at batch %d, below the training batch %d, but cannot be set: %s "
        "has neither %s",
        profile.case_id,
        batch_size,
        profile.batch_size,
        type(owner).__name__,
        names,
    )


def _refuse_trainings(profile: LockedProfile, module: Any, trainer: Any) -> None:
    """Raise where the values are not those of a LightningModule, or would go to none."""
    by_hand = "read tuned.batch_size and tuned.learning_rate where the training is made"
    if "training.class_path" in profile.settings:
        raise HarnessError(
            f"{profile.case_id} is the profile of a training without Lightning, which has no "
            f"attributes to set: {by_hand}"
        )
    if not hasattr(module, "named_parameters"):
        raise HarnessError(
            f"apply sets the attributes of a LightningModule, and {type(module).__qualname__} is "
            f"none: {by_hand}"
        )
    if trainer is not None and not hasattr(trainer, "world_size"):
        raise HarnessError(
            f"trainer={trainer!r:.80} is no Trainer of Lightning: hand over the Trainer that fits"
        )


def _refuse_other_workload(profile: LockedProfile, module: Any, datamodule: Any) -> None:
    changes = _module_changes(profile, module)
    if datamodule is not None:
        changes += _data_changes(profile, datamodule)
    if changes:
        raise HarnessError(
            f"{profile.case_id} is locked for another workload: {', '.join(changes)}. Lock the "
            f"workload as it is with `{RELOCK}`, or train the one "
            "that was locked"
        )


def _module_changes(profile: LockedProfile, module: Any) -> tuple[str, ...]:
    now = describe_module(module)
    if now["num_tensors"] == 0:
        # configure_model builds the parameters later, so there is nothing to compare yet.
        return ()
    # The matrix may name a plain network, which is the only child of a LightningModule here.
    for _, child in getattr(module, "named_children", tuple)():
        inside = describe_module(child)
        if (
            inside["parameters"] == profile.workload.get("parameters")
            and inside["num_tensors"] == now["num_tensors"]
        ):
            return ()
    return workload_changes(
        profile.workload, now, only=("num_parameters", "num_tensors", "parameters")
    )


def _data_changes(profile: LockedProfile, datamodule: Any) -> tuple[str, ...]:
    now = describe_data(datamodule)
    locked = profile.workload
    # The matrix may name a plain data set, which a data module loads here. It may also import a
    # class from the training script, which is `__main__` here.
    names = {str(now["data"]), class_path(training_dataset(datamodule))}
    same_name = str(locked.get("data")).rpartition(".")[2]
    if names & {locked.get("data"), f"__main__.{same_name}"}:
        now["data"] = locked.get("data", now["data"])
    return workload_changes(locked, now, only=tuple(now))
