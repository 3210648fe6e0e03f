"""Describes a workload: sets it up as a Trainer does, and trains nothing."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from harness.failures.explain import explain
from harness.identity import fingerprint
from harness.loaders.train_loaders import describe_training_loader
from harness.loaders.validation_loaders import has_validation, num_validation_samples
from harness.memory_bounds import make_bound, no_bound
from harness.probe_tasks.trainer import FitWatch, make_callback, make_trainer, seed_everything
from harness.workload import attributes

if TYPE_CHECKING:
    from harness.protocol.messages import DescribeRequest, DescribeResult, Failure, TellPhase
    from harness.workload.build import Workload


class _Arrived(Exception):  # noqa: N818 - not an error: the set-up is complete
    """Ends a fit before it trains."""


class _StopAtStart(FitWatch):
    def on_fit_start(self, _trainer: Any, module: Any) -> None:
        if not getattr(module, "is_loop", False):
            raise _Arrived

    def on_train_start(self, _trainer: Any, _module: Any) -> None:
        # A loop of its own has made its models by its first batch, and no sooner.
        raise _Arrived


def describe(
    workload: Workload,
    request: DescribeRequest,
    tell: TellPhase,
    torch_settings: dict[str, Any],
) -> DescribeResult | Failure:
    """Set up the workload; return its description, or the failure of its set-up.

    torch_settings: what the building of the workload has changed.
    """
    # Not at the top: the zygote imports this module, and its heap is in every probe's memory.
    from harness.identity.same_workload import describe_beside  # noqa: PLC0415

    tell("setup")
    seed_everything()
    try:
        device = make_bound(request["bound"])
        device.start()
        training = workload.spec.get("training")
        attributes.set_batch_size(
            workload.module,
            workload.datamodule,
            1 if training is None else request["batch_size"],
            attr=workload.spec["batch_size_attr"],
        )
        callback = make_callback(workload.lightning, _StopAtStart)
        # The set-up runs on the CPU, whatever the case's device. Only a training is made where it
        # will run, as its settings may not be those of another device, and a module on its mesh.
        bound = no_bound() if training is None and device.place is None else device
        trainer = make_trainer(workload, bound, request["trainer"], callbacks=[callback])
        # Before the fit, as `apply` is: a Trainer with a true half precision converts the module.
        description = fingerprint.describe_module(workload.user_module)
        beside = describe_beside(workload.user_module)
        if training is not None:
            from harness.probe_trainer.own_loops import hand_over  # noqa: PLC0415 - likewise

            hand_over(trainer, workload, bound)
        with suppress(_Arrived):
            trainer.fit(workload.module, datamodule=workload.datamodule)
        data = workload.module if workload.user_data is None else workload.user_data
        if training is not None:
            # It was made where the fit asked for its optimizers.
            made = workload.module
            description = fingerprint.describe_module(made.described)
            beside = describe_beside(made.described)
            if made.is_trainer:
                from harness.probe_trainer.transformers_description import (  # noqa: PLC0415 - likewise
                    describe_trainer,
                )

                facts, num_samples, num_workers = describe_trainer(made.training_object)
                description |= facts
            else:
                description |= {"data": training["class_path"]}
                num_samples, num_workers = made.num_samples, 0
        else:
            description |= fingerprint.describe_data(data)
            num_samples, num_workers = describe_training_loader(workload)
            if description["num_tensors"] == 0:
                # `configure_model` has made them by now.
                beside = describe_beside(workload.user_module)
                made_late = fingerprint.describe_module(workload.user_module)
                beside |= {"configured": made_late["parameters"]}
        texts: list[str] = []
        if (configured := workload.configured) is not None:
            attrs = workload.spec["batch_size_attr"], workload.spec["learning_rate_attr"]
            beside |= configured.described(request["trainer"], attrs)
            texts = configured.texts
        # Not at the top: the zygote imports this module, and its heap is in every probe's memory.
        from harness.probe_tasks.sources import digest_of_sources  # noqa: PLC0415

        return {
            "outcome": "fits",
            "workload": description | beside,
            "fingerprint": fingerprint.fingerprint(description),
            "num_samples": num_samples,
            "num_validation_samples": num_validation_samples(workload),
            "validation": has_validation(workload),
            "synthetic": workload.synthetic,
            "num_workers": num_workers,
            "torch_settings": torch_settings,
            "memory_limit_bytes": device.limit_bytes,
            "sources": digest_of_sources(texts=texts),
        }
    except BaseException as error:  # noqa: BLE001 - whatever the user's set-up raises is the answer
        return explain(error)
