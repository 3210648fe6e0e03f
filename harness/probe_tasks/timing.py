"""Times the steps of a training, after those that warm it up.

A timed probe does as little of its own between steps as it can: it tells no phases, reads no memory
and lets a GPU run ahead, as a training does.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import torch

from harness.probe_tasks.train import StepWatch, train

if TYPE_CHECKING:
    from harness.memory_bounds.memory_bound import MemoryBound
    from harness.protocol.messages import TellPhase, TrainRequest, TrainResult
    from harness.workload.build import Workload

WARM_UP_STEPS = 3
"""Steps that are not timed: they choose kernels, fill caches and make the optimizer's state."""

# The batch fits, perhaps to the byte, and a longer training of the same batch may take a page more.
_SHARE = 1.02


class TimedWatch(StepWatch):
    """Hooks of a callback that times steps: at least so many, and for at least so many seconds."""

    def __init__(self, bound: MemoryBound, tell: TellPhase, request: TrainRequest) -> None:
        super().__init__(bound, tell, request)
        self._wanted = request["timed_seconds"]
        self._accelerator = request["bound"]["accelerator"]
        self._started: float | None = None
        self._last_step = 0
        # Ranks agree on a number of steps: to agree after each one would take time of its own.
        self._planned = self.steps

    def on_fit_start(self, trainer: Any, module: Any) -> None:
        """Engage the bound."""
        super().on_fit_start(trainer, module)
        if self._accelerator == "cpu":  # CUDA's allocator keeps what it has, and takes no more
            self.bound.rescale(_SHARE)

    def on_train_batch_start(self, trainer: Any, module: Any, *rest: Any) -> None:
        """Watch the optimizers."""
        if self._started is None:
            super().on_train_batch_start(trainer, module, *rest)
        else:
            self._watch(trainer.optimizers)

    def on_before_backward(self, *rest: Any) -> None:
        """Do nothing while steps are timed."""
        if self._started is None:
            super().on_before_backward(*rest)

    def on_before_optimizer_step(self, *rest: Any) -> None:
        """Do nothing while steps are timed."""
        if self._started is None:
            super().on_before_optimizer_step(*rest)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *rest: Any) -> None:
        """Count the batch; end the training once enough is timed."""
        if self._started is None:
            super().on_train_batch_end(trainer, module, outputs, *rest)
            trainer.should_stop = False
            if len(self.peaks) >= WARM_UP_STEPS:
                self._begin()
            return
        self.num_batches += 1
        self.timed_batches += 1
        if self.micro_batches is not None:
            self._add_batch(self._started if self._since is None else self._since)
        if not self._stepped:
            self._refuse_endless(trainer)
            return
        self._stepped = False
        self._last_step = self.num_batches
        self.peaks.append(self.peaks[-1])
        if len(self.peaks) < self._planned or not self._has_timed_enough(self._started):
            return
        self._synchronize()
        self.timed_seconds = time.perf_counter() - self._started
        self.peaks[-1] = self.bound.peak_bytes()
        trainer.should_stop = True

    def _has_timed_enough(self, started: float) -> bool:
        """Return whether the seconds are over; for ranks, whether they are on all of them."""
        seconds = time.perf_counter() - started
        if self.ranks is None:
            return seconds >= self._wanted
        # A GPU may be behind, so this is the time of all steps that it was given.
        self._synchronize()
        seconds = self.ranks.least(time.perf_counter() - started)
        timed = max(1, len(self.peaks) - WARM_UP_STEPS)
        self._planned += max(1, math.ceil((self._wanted - seconds) * timed / max(seconds, 1e-3)))
        return seconds >= self._wanted

    def _begin(self) -> None:
        self.timed_batches, self.timed_seconds = 0, 0.0
        self.timed_steps, self.step_seconds = 0, 0.0
        self._last_step, self._since = self.num_batches, None
        self._synchronize()
        self._started = time.perf_counter()

    def _add_batch(self, since: float) -> None:
        """Tell batches with an optimizer step from others: in training there are more of those."""
        self._synchronize()
        self._since = time.perf_counter()
        if self._stepped:
            self.timed_steps += 1
            self.step_seconds += self._since - since

    def _refuse_endless(self, trainer: Any) -> None:
        since = self.num_batches - self._last_step
        if since >= self.max_batches * trainer.accumulate_grad_batches:
            raise RuntimeError(f"no optimizer step took effect in {since} batches")

    def _synchronize(self) -> None:
        if self._accelerator == "cuda":
            torch.cuda.synchronize()


def time_steps(workload: Workload, request: TrainRequest, tell: TellPhase) -> TrainResult:
    """Train one batch size as `train` does, and time its steps."""
    return train(workload, request, tell, TimedWatch)
