"""Tries one batch size of `trainer.validate`, `trainer.test` or `trainer.predict` alone.

No optimizer and no gradients are there: the module, its batches and what the forward pass takes.
Only such probes import this module, because on the CPU each module counts in the memory.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch

from harness.failures.crowding import blamed
from harness.loaders.inference_loaders import InferenceLoaders
from harness.memory_bounds import make_bound
from harness.probe_tasks.growth import Kept, found, num_batches, projected
from harness.probe_tasks.trainer import (
    FitWatch,
    consistent_zeros_of,
    make_callback,
    make_trainer,
    seed_everything,
    talk_of,
)
from harness.probe_trainer.fit_failures import explain_fit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal

    from harness.memory_bounds.memory_bound import MemoryBound
    from harness.probe_tasks.zeros.decisions import Decisions
    from harness.protocol.messages import Failure, InferRequest, InferResult, TellPhase
    from harness.workload.build import Workload

_LOOPS = {"validate": "validate_loop", "test": "test_loop", "predict": "predict_loop"}
_PHASES: Mapping[str, Literal["validation", "test", "predict"]] = {
    "validate": "validation",
    "test": "test",
    "predict": "predict",
}
_WRITES = ("write_on_batch_end", "write_on_epoch_end")


class _Counted(Exception):  # noqa: N818 - not an error: the loaders are made, and that was all
    """Ends an inference before its first batch."""


class InferWatch(FitWatch):
    """Hooks of a callback that reports each phase, and the memory after each batch."""

    def __init__(self, bound: MemoryBound, tell: TellPhase, request: InferRequest) -> None:
        super().__init__()
        self.bound = bound
        self.tell = tell
        self.whole_pass = request["whole_pass"]
        self.phase = _PHASES[request["function"]]
        self.kept = Kept(self.phase, bound)
        self.num_batches = 0

    def begin(self, *_: Any) -> None:
        self.tell(self.phase)

    def end_batch(self, *_: Any) -> None:
        self.num_batches += 1
        self.bound.peak_bytes()  # notes also what is shared only while a batch runs
        self.kept.add(whole_epochs=self.whole_pass)
        if self.num_batches == 1:
            self.bound.warmed_up()

    on_validation_batch_start = on_test_batch_start = on_predict_batch_start = begin
    on_validation_batch_end = on_test_batch_end = on_predict_batch_end = end_batch


def infer(workload: Workload, request: InferRequest, tell: TellPhase) -> InferResult:
    """Run one batch size and return the outcome, whatever the user's code raises."""
    tell("setup")
    seed_everything()
    bound = make_bound(request["bound"])
    function, batch_size = request["function"], request["batch_size"]
    watch = make_callback(workload.lightning, InferWatch, bound, tell, request)
    watch.ranks = talk_of(bound)
    loaders = InferenceLoaders(workload, function, batch_size)
    failure: Failure | None = None
    decisions: Decisions | None = None
    excess: str | None = None
    try:
        bound.start()
        _complete_wrappers(workload)
        loaders.require()
        loaders.set_batch_size()
        if request["history"] is not None:
            bound.record(stacks=False)
        with consistent_zeros_of(request["bound"]) as decisions:
            trainer = make_trainer(workload, bound, request["trainer"], callbacks=[watch])
            _silence_writers(trainer)
            limit = request["batches"] or 1
            trainer.limit_val_batches = trainer.limit_test_batches = limit
            trainer.limit_predict_batches = limit
            loop = getattr(trainer, _LOOPS[function])
            loaders.give_to(loop)
            _before_batches(loop, lambda: _begin(trainer, bound, watch, loaders, request))
            with suppress(_Counted):
                _run(trainer, workload, function)
        if watch.ranks is not None:
            # Rank 0 keeps the store where all meet, until nobody needs it.
            watch.ranks.all(True)
            watch.ranks.leave()
        excess = bound.excess()
        if request["history"] is not None and not watch.kept.suspicious:
            with suppress(Exception):  # it fits, whatever becomes of the file
                bound.write_history(request["history"])
    except BaseException as error:  # noqa: BLE001 - whatever ends the user's code is the answer
        bound.lift()
        accelerator = request["bound"]["accelerator"]
        failure = explain_fit(error, workload, watch, tell, accelerator)
        failure = blamed(failure, bound, watch.memory)
    bound.lift()
    peak = bound.peak_bytes()
    nothing = Kept("training", bound)
    growth = found(
        nothing, watch.kept, endless=not request["whole_pass"], failed=failure is not None
    )
    if failure is None and request["whole_pass"]:
        peak, words = projected(nothing, watch.kept, peak)
        excess = excess or (words if peak > bound.limit_bytes else None)
    if failure is None and excess is not None:
        failure = {"outcome": "oom", "detail": excess, "traceback": None}
    return {
        "outcome": "fits" if failure is None else failure["outcome"],
        "detail": None if failure is None else failure["detail"],
        "traceback": None if failure is None else failure["traceback"],
        "batch_size": batch_size,
        "peak_memory_bytes": peak,
        **bound.facts(),
        "memory_limit_bytes": bound.limit_bytes,
        "samples": watch.num_batches * batch_size,
        "steps": watch.num_batches,
        "samples_per_second": None,
        "growing": False,
        "growth": growth,
        "above_limit": failure is not None and failure["detail"] == excess,
        "finite_loss": True,
        "notes": [] if decisions is None else decisions.notes(),
        "values_read": None if decisions is None else decisions.last_read,
        "rank": None,
        "pass_samples": _share(loaders.samples_in_pass() if loaders.made else None, bound),
    }


def _share(samples: int | None, bound: MemoryBound) -> int | None:
    """Return the samples of one rank, as a DistributedSampler divides them: it rounds up."""
    if samples is None or bound.place is None:
        return samples
    return -(-samples // bound.place["num_ranks"])


def _run(trainer: Any, workload: Workload, function: str) -> None:
    """Call the Trainer's function, as a script does that keeps no predictions."""
    if function == "predict":
        # Kept ones would count once for each batch, on the host, and leave the GPU as it is.
        trainer.predict(workload.module, datamodule=workload.datamodule, return_predictions=False)
    else:
        call = getattr(trainer, function)
        call(workload.module, datamodule=workload.datamodule, verbose=False)


def _before_batches(loop: Any, begin: Callable[[], None]) -> None:
    """Call a function when the loaders are made and none of their batches is fetched."""
    reset = loop.reset

    def begun() -> None:
        begin()
        reset()

    loop.reset = begun


def _begin(
    trainer: Any,
    bound: MemoryBound,
    watch: InferWatch,
    loaders: InferenceLoaders,
    request: InferRequest,
) -> None:
    if not request["batches"]:
        raise _Counted
    watch.tell("data")
    length = num_batches(loaders.made)
    watch.kept.pass_steps = length if length is None or math.isfinite(length) else None
    # The bound takes a step of a network of its own, which needs gradients.
    with torch.inference_mode(mode=False), torch.enable_grad():
        bound.engage(trainer.lightning_module)


def _complete_wrappers(workload: Workload) -> None:
    """Let a plain model and a plain data set test and predict as they validate."""
    if workload.module is not workload.user_module:
        kind: Any = type(workload.module)
        kind.test_step = kind.predict_step = kind.validation_step
    if workload.datamodule is not None and workload.datamodule is not workload.user_data:
        kind = type(workload.datamodule)
        kind.test_dataloader = kind.predict_dataloader = kind.val_dataloader


def _silence_writers(trainer: Any) -> None:
    """Let callbacks that write predictions keep what they keep, and write nothing."""
    for callback in trainer.callbacks:
        kind = type(callback)
        if any(base.__name__ == "BasePredictionWriter" for base in kind.__mro__):
            callback.__class__ = type(kind.__name__, (kind,), dict.fromkeys(_WRITES, _nothing))


def _nothing(*_: Any, **__: Any) -> None:
    """Stand in for a method that writes."""
