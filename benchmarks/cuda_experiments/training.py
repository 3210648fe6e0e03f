"""The child side of experiments 5, 6 and 9: records each step of a fit, and runs the Tuner."""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from typing import TYPE_CHECKING, Any

import torch

from harness.memory_bounds import make_bound
from harness.probe_tasks.trainer import (
    FitWatch,
    make_callback,
    make_trainer,
    prepare,
    seed_everything,
)
from harness.workload import build as workloads

if TYPE_CHECKING:
    from harness.protocol.case import BoundSpec, WorkloadSpec

_STATISTICS = (
    "allocated_bytes.all.peak",
    "reserved_bytes.all.peak",
    "reserved_bytes.all.current",
    "inactive_split_bytes.all.current",
    "num_alloc_retries",
    "num_ooms",
)


class StepRecorder(FitWatch):
    """Callback that bounds the memory at the same time as a probe, and records each step."""

    def __init__(self, bound: Any, num_steps: int) -> None:
        super().__init__()
        self.bound = bound
        self.num_steps = num_steps
        self.steps: list[dict[str, Any]] = []
        self._since = time.perf_counter()

    def on_fit_start(self, _trainer: Any, module: Any) -> None:
        """Set the limit."""
        self.bound.engage(module)

    def on_train_batch_start(self, *_: Any) -> None:
        """Start the clock."""
        self._since = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Record a step, and end the fit after the last one."""
        self._note("train")
        trainer.should_stop = len(self.steps) >= self.num_steps

    def on_validation_batch_start(self, *_: Any) -> None:
        """Start the clock."""
        self._since = time.perf_counter()

    def on_validation_batch_end(self, *_: Any) -> None:
        """Record a validation batch."""
        self._note("validation")

    def _note(self, what: str) -> None:
        seconds = time.perf_counter() - self._since
        initialized = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        stats = torch.cuda.memory_stats(0) if initialized else {}
        if stats:
            torch.cuda.synchronize()
            seconds = time.perf_counter() - self._since
        self.steps.append(
            {"what": what, "peak_bytes": self.bound.peak_bytes(), "seconds": round(seconds, 4)}
            | {name: stats[name] for name in _STATISTICS if name in stats}
        )


class Bounding:
    """Callback that bounds the memory before the Tuner's own callback runs its trials."""

    def __init__(self, bound: Any) -> None:
        self.bound = bound

    def setup(self, _trainer: Any, module: Any, stage: str) -> None:
        """Set the limit."""
        del stage
        self.bound.engage(module)


def fit(
    built: workloads.Workload,
    bound: BoundSpec,
    trainer: dict[str, Any],
    batch_size: int,
    *,
    num_steps: int,
    validation: bool,
) -> dict[str, Any]:
    """Train some steps and validate one batch, as a probe does; return the steps and any error."""
    seed_everything(0)
    limit = make_bound(bound)
    watch = make_callback(built.lightning, StepRecorder, limit, num_steps)
    error = None
    try:
        limit.start()
        made = make_trainer(
            built,
            limit,
            trainer,
            limit_val_batches=int(validation),
            callbacks=[watch],
        )
        prepare(built, made, limit, batch_size)
        made.fit(built.module, datamodule=built.datamodule)
    except Exception as raised:  # noqa: BLE001 - how it ends is the answer
        limit.lift()
        error = f"{type(raised).__name__}: {raised}"[:500]
    limit.lift()
    return {"limit_bytes": limit.limit_bytes, "steps": watch.steps, "error": error}


def steps(
    *,
    spec: WorkloadSpec,
    bound: BoundSpec,
    trainer: dict[str, Any],
    batch_size: int,
    num_steps: int,
) -> dict[str, Any]:
    """Train some steps and a validation batch; return a record of each."""
    _be_quiet()
    return fit(
        workloads.build(spec), bound, trainer, batch_size, num_steps=num_steps, validation=True
    )


def tuner(*, spec: WorkloadSpec, bound: BoundSpec) -> dict[str, Any]:
    """Search the batch size with Lightning's Tuner under the same limit, in this process."""
    from lightning.pytorch.tuner.tuning import Tuner  # noqa: PLC0415 - one child of all needs it

    _be_quiet()
    built = workloads.build(spec)
    limit = make_bound(bound)
    limit.start()
    trainer = built.lightning.Trainer(
        **limit.trainer_arguments,
        max_epochs=1,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        logger=False,
        default_root_dir=tempfile.gettempdir(),  # where the Tuner keeps the weights
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[make_callback(built.lightning, Bounding, limit)],
    )
    size, failure = None, None
    started = time.perf_counter()
    try:
        size = Tuner(trainer).scale_batch_size(
            built.module,
            datamodule=built.datamodule,
            mode="binsearch",
            steps_per_trial=3,
            init_val=2,
        )
    except Exception as error:  # noqa: BLE001 - how the peer fails is a result
        failure = f"{type(error).__name__}: {error}"[:500]
    limit.lift()
    return {
        "batch_size": size,
        "failure": failure,
        "seconds": round(time.perf_counter() - started, 2),
    }


def _be_quiet() -> None:
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
