"""The child side of a probe: bound the memory, run the user's real training, say what happened."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from harness import attributes, fingerprint
from harness.devices import make_bound
from harness.errors import HarnessError
from harness.explaining import explain
from harness.loaders import replace_train_loader
from harness.trainer import Watch, loss_of, make_callback, make_trainer, seed_everything
from harness.validation import has_validation, num_validation_samples, replace_validation_loader

if TYPE_CHECKING:
    from harness.devices import MemoryBound
    from harness.workload import Workload

Report = Callable[[str], None]
"""Told the phase that begins, so that it is known even when the process dies in it."""

_SEED = 0
# How many more steps a probe takes, beyond those asked for, until the peak stands still.
_MAX_EXTRA_STEPS = 8
# A peak that grows by less than this share of the limit from one step to the next stands still.
_STEADY = 1e-3
# ... or by less than this: what an allocation or two of a library's take that come late.
_STEADY_BYTES = 256 << 10
# What training may take of its limit where its batch has been found and validation's is looked for.
_SETTLED_SHARE = 1.02
# Batches without an effective step, per step that was asked for, after which a probe gives up.
_MAX_BATCHES_PER_STEP = 30


class TrainingEndedError(HarnessError):
    """The workload ended its training before the probe had seen enough of it."""


class StepWatch(Watch):
    """Callback that follows the phases of each step, counts the effective ones, and ends the fit."""

    def __init__(self, bound: MemoryBound, report: Report, request: Mapping[str, Any]) -> None:
        super().__init__()
        self.bound = bound
        self.report = report
        self.steps = steps = int(request["steps"])
        # One step alone cannot tell whether the peak grows.
        self.settles = bool(request["settle"]) and steps > 1
        self.validation_share = float(request["validation_share"])
        self.varies_validation = request.get("validation_batch_size") is not None
        self.snapshot: str | None = request.get("snapshot")
        accumulate = int(request["trainer"].get("accumulate_grad_batches", 1))
        self.max_batches = _MAX_BATCHES_PER_STEP * (steps + _MAX_EXTRA_STEPS) * accumulate
        self.peaks: list[int] = []
        self.num_batches = 0
        self.timed_batches = 0
        self.timed_seconds = 0.0
        self.grew = False
        self.last_loss = 0.0
        self._stepped = False
        self._since: float | None = None

    def on_fit_start(self, _trainer: Any, module: Any) -> None:
        self.report("data")
        self.bound.engage(module)
        if self.varies_validation:
            # Training is settled, perhaps to the byte: a page more or less must not end it here.
            self.bound.rescale(_SETTLED_SHARE)

    def on_train_start(self, trainer: Any, _module: Any) -> None:
        for optimizer in trainer.optimizers:
            optimizer.register_step_post_hook(self._after_step)

    def on_train_batch_start(self, *_: Any) -> None:
        self.report("forward")

    def on_before_backward(self, *_: Any) -> None:
        self.report("backward")

    def on_before_optimizer_step(self, *_: Any) -> None:
        self.report("optimizer")

    def on_train_batch_end(self, trainer: Any, _module: Any, outputs: Any, *_: Any) -> None:
        self.num_batches += 1
        # A training step may return None, and with manual optimization anything.
        with suppress(TypeError, ValueError, RuntimeError):
            self.last_loss = float(loss_of(outputs))
        now = time.perf_counter()
        # The first batch pays for kernels and caches that are chosen once.
        if self._since is not None:
            self.timed_batches += 1
            self.timed_seconds += now - self._since
        if self._stepped:
            self._stepped = False
            self.peaks.append(self.bound.peak_bytes())
            if len(self.peaks) == 1:
                self.bound.warmed_up()
            enough = len(self.peaks) >= self.steps
            steady = len(self.peaks) > 1 and self._is_steady(self.peaks[-1], self.peaks[-1] - self.peaks[-2])
            self.grew = self.settles and not steady and len(self.peaks) >= self.steps + _MAX_EXTRA_STEPS
            # A stop also makes Lightning run validation, inside the fit, with all of training's state alive.
            trainer.should_stop = (enough and (steady or not self.settles)) or self.grew
        elif self.num_batches >= self.max_batches:
            raise RuntimeError(f"no optimizer step took effect in {self.num_batches} batches")
        self.report("data")
        self._since = time.perf_counter()

    def on_validation_start(self, *_: Any) -> None:
        self.report("validation")
        self.bound.rescale(self.validation_share)
        if self.varies_validation:
            self.bound.begin_validation()

    def on_validation_end(self, *_: Any) -> None:
        self.report("end of training")

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        super().on_exception(trainer, module, exception)
        if self.snapshot is not None:
            with suppress(Exception):  # CUDA may have failed for good: the failure itself is what counts
                self.bound.dump(self.snapshot)
        self.bound.lift()

    def _is_steady(self, peak: int, growth: int) -> bool:
        """Say whether the peak stands still, or grows so slowly that the limit is far off at that rate."""
        limit = self.bound.limit_bytes
        return growth <= max(_STEADY * limit, _STEADY_BYTES) or _MAX_EXTRA_STEPS * growth <= limit - peak

    def peak_bytes(self) -> int:
        """Return the peak of what the probe varies: of all, or of validation alone where that can be told."""
        if self.varies_validation:
            return self.bound.validation_peak_bytes()
        return max(self.bound.peak_bytes(), *self.peaks, 0)

    def _after_step(self, *_: Any) -> None:
        self._stepped = True


def run(workload: Workload, request: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Try one batch size and say what happened.

    `request` holds `bound`, `trainer`, `batch_size`, `steps`, `settle` (whether steps are added while the peak
    grows), `validation_steps` (0: none is run),
    `validation_batch_size` (None: what the loader makes of the training batch) with `validation_share` of the
    limit, and `snapshot`: the file that gets the allocator's history when memory runs out, or None. Returns fields
    of a `Probe`, `memory_limit_bytes`, and `growing`: whether the peak never stood still.
    """
    report("setup")
    seed_everything(_SEED)
    bound = make_bound(request["bound"])
    batch_size = int(request["batch_size"])
    watch = make_callback(workload.lightning, StepWatch, bound, report, request)
    outcome: dict[str, Any] = {"outcome": "fits", "detail": None, "traceback": None}
    try:
        bound.start()
        if watch.snapshot is not None:
            bound.record()
        prepare(workload, batch_size)
        if request.get("validation_batch_size") is not None:
            replace_validation_loader(workload, int(request["validation_batch_size"]))
        trainer = make_trainer(
            workload,
            bound,
            request["trainer"],
            limit_val_batches=int(request["validation_steps"]),
            callbacks=[watch],
        )
        trainer.fit(workload.module, datamodule=workload.datamodule)
        if len(watch.peaks) < watch.steps:
            raise TrainingEndedError(  # noqa: TRY301 - told like any other end of the user's training
                f"the training ended itself after {len(watch.peaks)} of {watch.steps} optimizer steps: see what sets "
                "`trainer.should_stop`, or returns -1 from `on_train_batch_start`"
            )
    except BaseException as error:  # noqa: BLE001 - whatever ends the user's training is the answer
        bound.lift()
        outcome = explain(watch.error or error, watch.memory, request["bound"]["accelerator"])
    bound.lift()
    return outcome | {
        "batch_size": batch_size,
        "peak_memory_bytes": watch.peak_bytes(),
        **bound.facts(),
        "memory_limit_bytes": bound.limit_bytes,
        "samples": watch.num_batches * batch_size,
        "samples_per_second": (
            watch.timed_batches * batch_size / watch.timed_seconds if watch.timed_seconds else None
        ),
        "growing": watch.grew,
        "finite_loss": math.isfinite(watch.last_loss),
    }


def prepare(workload: Workload, batch_size: int, *, worst_case: bool = True) -> None:
    """Set the batch size, and make the training loader endless."""
    attributes.set_batch_size(
        workload.module, workload.datamodule, batch_size, attr=workload.spec.get("batch_size_attr")
    )
    owner = workload.datamodule if workload.datamodule is not None else workload.module
    replace_train_loader(owner, batch_size, workload.worst_case_batch if worst_case else None)


class _Arrived(Exception):  # noqa: N818 - not an error: the description has what it came for
    """Ends a fit before it trains."""


class _StopAtStart(Watch):
    def on_fit_start(self, _trainer: Any, _module: Any) -> None:
        raise _Arrived


def describe(workload: Workload, request: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Set the workload up as a Trainer does, train nothing, and say what it is.

    Returns `workload` (what the fingerprint is made of), `fingerprint`, `num_samples`,
    `num_validation_samples`, `validation`, `synthetic`, and the device's `memory_limit_bytes`; or the outcome of a
    failure.
    """
    report("setup")
    seed_everything(_SEED)
    try:
        device = make_bound(request["bound"])
        device.start()
        attributes.set_batch_size(
            workload.module, workload.datamodule, 1, attr=workload.spec.get("batch_size_attr")
        )
        callback = make_callback(workload.lightning, _StopAtStart)
        bound = make_bound({"accelerator": "cpu", "budget_bytes": 0})
        trainer = make_trainer(workload, bound, request["trainer"], callbacks=[callback])
        # Before the fit: a Trainer with a true half precision converts the module, and `apply` comes before it.
        description = fingerprint.describe_module(workload.user_module)
        with suppress(_Arrived):
            trainer.fit(workload.module, datamodule=workload.datamodule)
        data = workload.module if workload.user_data is None else workload.user_data
        description |= fingerprint.describe_data(data)
        owner = workload.datamodule if workload.datamodule is not None else workload.module
        return {
            "outcome": "fits",
            "workload": description,
            "fingerprint": fingerprint.fingerprint(description),
            "num_samples": description.get("num_samples"),
            "num_validation_samples": num_validation_samples(workload),
            "validation": has_validation(workload),
            "synthetic": workload.synthetic,
            "num_workers": fingerprint.of_training_loader(owner, "num_workers") or 0,
            "memory_limit_bytes": device.limit_bytes,
        }
    except BaseException as error:  # noqa: BLE001 - whatever the user's set-up raises is the answer
        return explain(error)
