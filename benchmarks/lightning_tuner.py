"""Runs Lightning's Tuner on one workload under the bound of the CPU; exactness.py starts it.

Reads a JSON object from the standard input: `sys_path`, `workload`, `budget_bytes`, `steps`,
`helped`. With `helped` the Tuner uses our test for errors that mean out of memory. Its own test
knows neither oneDNN's ("could not create a primitive") nor a plain MemoryError, so it fails on
them. Writes a JSON object to the standard output: `batch_size` (None after a failure), `failure`,
`trials`, `samples` (of completed steps) and `seconds` (of tuning alone, without imports and the
building of the module).
"""

from __future__ import annotations

import inspect
import json
import logging
import sys
import time
import warnings
from typing import Any

import lightning.pytorch as pl
import torch

# Optimizers import it at their first step, and the time of tuning must not include that.
import torch._dynamo
from lightning.pytorch.tuner import batch_size_scaling
from lightning.pytorch.tuner.tuning import Tuner

from harness.failures.out_of_memory import classify
from harness.memory_bounds.host import HostBound
from harness.workload import build as workload


class Watch(pl.Callback):
    """Bounds the memory at the same time as a probe: after the set-up of data, before training."""

    def __init__(self, bound: HostBound) -> None:
        self.bound = bound

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Set the limit."""
        del trainer, stage
        self.bound.engage(pl_module)


def count(module: Any, datamodule: Any) -> dict[str, int]:
    """Count the Tuner's trials and the completed samples; return the counts, which grow."""
    counts = {"trials": 0, "samples": 0}
    try_loop_run = batch_size_scaling._try_loop_run  # noqa: SLF001 - the Tuner has no counter

    def counted(*arguments: Any) -> None:
        counts["trials"] += 1
        try_loop_run(*arguments)

    def on_train_batch_end(*_: Any) -> None:
        counts["samples"] += datamodule.batch_size

    setattr(batch_size_scaling, "_try_loop_run", counted)  # noqa: B010 - mypy refuses assignment
    module.on_train_batch_end = on_train_batch_end
    return counts


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that the training ran out of memory."""
    return classify(error) in ("device", "host")


def _exact() -> dict[str, Any]:
    """Return the arguments that keep the Tuner from lowering its answer by 5%.

    Lightning 2.6 and newer lower it by default.
    """
    takes = inspect.signature(Tuner.scale_batch_size).parameters
    return {"margin": 0.0} if "margin" in takes else {}


def main() -> None:
    """Tune, and print the answer."""
    request = json.load(sys.stdin)
    sys.path[:] = request["sys_path"]
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    built = workload.build(request["workload"])
    bound = HostBound(request["budget_bytes"])
    trainer = pl.Trainer(
        **bound.trainer_arguments,
        max_epochs=1,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Watch(bound)],
    )
    if request["helped"]:
        setattr(batch_size_scaling, "is_oom_error", is_out_of_memory)  # noqa: B010 - as above
    counts = count(built.module, built.datamodule)
    size, failure = None, None
    started = time.perf_counter()
    try:
        size = Tuner(trainer).scale_batch_size(
            built.module,
            datamodule=built.datamodule,
            mode="binsearch",
            steps_per_trial=request["steps"],
            init_val=2,
            max_trials=25,
            **_exact(),
        )
    except BaseException as error:  # noqa: BLE001 - a failure of the Tuner is a result
        failure = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    seconds = time.perf_counter() - started
    bound.lift()
    print(json.dumps({"batch_size": size, "failure": failure, **counts, "seconds": seconds}))


if __name__ == "__main__":
    main()
