"""Lightning's Tuner on one workload under the bound of the CPU device; run by exactness.py, one process each.

Reads a JSON object from the standard input: `sys_path`, `workload`, `budget_bytes`, `steps`, `helped`. With
`helped` the Tuner is told of all errors that mean out of memory: by itself it knows neither oneDNN's ("could not
create a primitive") nor a plain MemoryError, and fails on them. Writes one to the
standard output: `batch_size` (None after a failure), `failure`, `trials`, `samples` (of completed steps) and
`seconds` (from the start of tuning: no import, no building of the module).
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from typing import Any

import lightning.pytorch as pl
import torch

# Optimizers import it at their first step, which is no part of tuning.
import torch._dynamo
from lightning.pytorch.tuner import batch_size_scaling
from lightning.pytorch.tuner.tuning import Tuner

from harness import workload
from harness.devices.cpu import HostBound
from harness.out_of_memory import is_out_of_memory


class Watch(pl.Callback):
    """Bounds the memory when a probe's callback does: after the data are set up, before anything trains."""

    def __init__(self, bound: HostBound) -> None:
        self.bound = bound

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Set the limit."""
        del trainer, stage
        self.bound.engage(pl_module)


def count(module: Any, datamodule: Any) -> dict[str, int]:
    """Make the Tuner count its trials, and the module its completed samples; return the counts."""
    counts = {"trials": 0, "samples": 0}
    try_loop_run = batch_size_scaling._try_loop_run  # noqa: SLF001 - the Tuner tells nobody

    def counted(*arguments: Any) -> None:
        counts["trials"] += 1
        try_loop_run(*arguments)

    def on_train_batch_end(*_: Any) -> None:
        counts["samples"] += datamodule.batch_size

    setattr(batch_size_scaling, "_try_loop_run", counted)  # noqa: B010 - mypy knows the old one's type
    module.on_train_batch_end = on_train_batch_end
    return counts


def main() -> None:
    """Tune, and say what came out."""
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
        )
    except BaseException as error:  # noqa: BLE001 - how the peer fails is a result
        failure = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    seconds = time.perf_counter() - started
    bound.lift()
    print(json.dumps({"batch_size": size, "failure": failure, **counts, "seconds": seconds}))


if __name__ == "__main__":
    main()
