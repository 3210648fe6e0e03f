"""Ends the optimizer steps of a probe early where `search.global_batch_size` asks for many batches.

The first micro-batch of a step makes the gradients, and the second runs beside them, as do all that
follow: they take no more memory. So a probe takes its step after two, and its Trainer still tells
the true number. Imported by such probes alone, because on the CPU each module counts in the memory.
"""

from __future__ import annotations

from typing import Any

from harness.errors import HarnessError

_FOREIGN = (
    "search.global_batch_size makes a step of {} micro-batches here, and {}, a hook or a callback "
    "sets trainer.accumulate_grad_batches to {}: remove what sets it, such as "
    "GradientAccumulationScheduler, or remove search.global_batch_size"
)
_MANUAL = (
    "search.global_batch_size accumulates gradients, which manual optimization does by itself: "
    "remove search.global_batch_size, and accumulate in the training step of {}"
)


def shorten_steps(trainer: Any, module: Any, micro_batches: int) -> None:
    """Make a Trainer take an optimizer step after at most so many micro-batches.

    Raises HarnessError for manual optimization, for which no Trainer accumulates. The fit raises it
    where anything else sets the accumulation.
    """
    if not module.automatic_optimization:
        raise HarnessError(_MANUAL.format(type(module).__name__))
    trainer.told_accumulation = trainer.accumulate_grad_batches
    trainer.micro_batches = min(micro_batches, trainer.accumulate_grad_batches)
    epoch = trainer.fit_loop.epoch_loop
    for loop, mixin in ((epoch, _Steps), (epoch.automatic_optimization, _Gradients)):
        loop.__class__ = type(mixin.__name__, (mixin, type(loop)), {})


class _Steps:
    """Takes an optimizer step after a few micro-batches."""

    trainer: Any
    batch_progress: Any

    def _accumulated_batches_reached(self) -> bool:
        trainer = self.trainer
        told, now = trainer.told_accumulation, trainer.accumulate_grad_batches
        if told != now:
            raise HarnessError(_FOREIGN.format(told, type(trainer.lightning_module).__name__, now))
        return bool(self.batch_progress.current.ready % trainer.micro_batches == 0)


class _Gradients:
    """Drops the gradients of the step before where a short one begins."""

    trainer: Any

    def _make_zero_grad_fn(self, batch_idx: int, optimizer: Any) -> Any:
        # Lightning asks whether the number is a multiple of what is told: 0 is, 1 is not.
        number = min(1, batch_idx % self.trainer.micro_batches)
        return super()._make_zero_grad_fn(number, optimizer)  # type: ignore[misc]  # Lightning's loop
