"""Lets a transformers.Trainer run its own loop in the place of Lightning's.

`trainer.train()` runs as in any training. A callback of its own tells the hooks of the probe's
callbacks what Lightning's loop would tell them, and ends the training when these ask for it.
"""

from __future__ import annotations

import importlib
import math
import sys
from functools import wraps
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from harness.loaders.counted_batches import length_of
from harness.probe_trainer.transformers_loaders import (
    FewBatches,
    TrainingBatches,
    full_batches_of,
)
from harness.workload.transformers_trainers import validates

if TYPE_CHECKING:
    from harness.loaders.counted_batches import Uncounted
    from harness.workload.build import Workload

# Batches in a pass that has no end; a multiple of any accumulation.
_ENDLESS = 1_000_000
# Callbacks that show, report, save or end a training.
_SILENCED = (
    "EarlyStoppingCallback",
    "JITCheckpointCallback",
    "LogCompletionsCallback",
    "NotebookProgressCallback",
    "PrinterCallback",
    "ProgressCallback",
    "RichProgressCallback",
)
_REPORTING = "transformers.integrations"
_PACKAGES = ("transformers.", "trl.")
# Optimizers that step within the backward pass, at rates that nobody can set.
_WITHIN_BACKWARD = ("lomo", "adalomo")
_LAYERWISE = "_layerwise"


class TransformersFit:
    """One run of a transformers.Trainer, as the callbacks of a probe see it."""

    def __init__(self, outer: Any, workload: Workload, uncounted: Uncounted) -> None:
        self.outer = outer
        self.module = workload.module
        self.uncounted = uncounted
        self.whole_epochs: bool = outer.whole_epochs
        self.val_batches = int(min(outer.probe_val_batches, sys.maxsize))
        self.loss: Any = None
        self.batch_index = 0
        self._call = importlib.import_module(f"{workload.lightning.__name__}.trainer.call")

    @property
    def stops(self) -> bool:
        """Whether the probe asks the training to end."""
        return bool(self.outer.should_stop)

    def run(self, trainer: Any) -> None:
        """Train until the probe's callbacks ask for the end."""
        self.validates = self.val_batches > 0 and validates(trainer)
        _silence(trainer)
        _let_metrics_fail(trainer)
        self.outer.accumulate_grad_batches = trainer.args.gradient_accumulation_steps
        kind = type(trainer)
        trainer.__class__ = type(
            kind.__name__, (_ProbedTrainer, kind), {"__module__": kind.__module__}
        )
        trainer.probe_fit = self
        trainer._train_batch_size = trainer.args.train_batch_size  # noqa: SLF001 - no public way
        trainer.add_callback(_callback(self))
        if trainer.model_init is not None:
            self.module._modules.pop("model", None)  # noqa: SLF001 - it makes a new one
        strategy = self.outer.strategy
        counter = strategy.optimizers
        try:
            trainer.train()
        finally:
            # Lightning would move both to the CPU.
            strategy._optimizers = counter  # noqa: SLF001 - its setter wraps them
            self.module._modules.pop("model", None)  # noqa: SLF001 - likewise

    def begin(self, trainer: Any) -> None:
        """Show what the Trainer has made for its training."""
        self.module.add_module("model", trainer.model)
        optimizer = trainer.optimizer
        if _of_accelerate(optimizer):
            # A GradScaler steps the inner one, and leaves steps out.
            optimizer = optimizer.optimizer
        self.module.sweep_refusal = _refusal(trainer)
        self.outer.strategy._optimizers = [optimizer]  # noqa: SLF001 - its setter wraps them
        self.outer.strategy.lr_scheduler_configs = [
            SimpleNamespace(scheduler=trainer.lr_scheduler, strict=True)
        ]
        self._watch_backward(trainer.accelerator)
        self.hook("on_train_start")

    def hook(self, name: str, *arguments: Any) -> None:
        """Call a hook of Lightning's callbacks."""
        self._call._call_callback_hooks(self.outer, name, *arguments)  # noqa: SLF001 - no other way

    def begin_batch(self) -> None:
        """Tell that a batch is trained on from here."""
        self.hook("on_train_batch_start", None, self.batch_index)

    def end_batch(self, trainer: Any, *, last: bool) -> None:
        """Tell the end of a batch. last: whether an optimizer step followed, or was skipped."""
        loss, self.loss = self.loss, None
        if loss is not None:
            # The losses of a step's batches add up to the step's. Lightning's are its mean.
            accumulated = self.outer.accumulate_grad_batches
            window = getattr(trainer, "current_gradient_accumulation_steps", accumulated)
            if window != accumulated:
                loss = loss * (window / accumulated)
        self.outer.fit_loop.epoch_loop.batch_progress.is_last_batch = last
        outputs = None if loss is None else {"loss": loss}
        self.hook("on_train_batch_end", outputs, None, self.batch_index)
        self.batch_index += 1

    def _watch_backward(self, accelerator: Any) -> None:
        backward = accelerator.backward

        @wraps(backward)
        def watched(loss: Any, *arguments: Any, **named: Any) -> Any:
            self.hook("on_before_backward", loss)
            return backward(loss, *arguments, **named)

        accelerator.backward = watched


class _ProbedTrainer:
    """Mixed into the class of a Trainer: its data have no end, and it saves nothing."""

    probe_fit: TransformersFit
    args: Any

    def get_train_dataloader(self) -> Any:
        fit = self.probe_fit
        make = super().get_train_dataloader  # type: ignore[misc]  # of the Trainer
        with fit.uncounted():
            own = make()
        steps, told = self._lengths(own)
        if told is None:
            return own  # the Trainer says by itself what is missing
        batches = full_batches_of(
            self, make, own, endless=not fit.whole_epochs, uncounted=fit.uncounted
        )
        accumulated = self.args.gradient_accumulation_steps
        fit.outer.fit_loop.max_batches = math.inf if steps is None else length_of(own)
        if fit.whole_epochs and steps is not None:
            # One more epoch than the probe may take steps, so that nothing but it ends this.
            self.args.max_steps = told + _ENDLESS
            return TrainingBatches(own, batches, length_of(own), fit.outer.strategy)
        self.args.max_steps = told
        return TrainingBatches(own, batches, _ENDLESS * accumulated, fit.outer.strategy)

    def _lengths(self, own: Any) -> tuple[int | None, int | None]:
        """Return the optimizer steps of a pass, and those of the user's training."""
        args, length = self.args, length_of(own)
        steps = None
        if length is not None:
            steps = max(1, math.ceil(length / args.gradient_accumulation_steps))
        if args.max_steps > 0:
            return steps, args.max_steps
        return steps, None if steps is None else math.ceil(args.num_train_epochs * steps)

    def get_eval_dataloader(self, *arguments: Any, **named: Any) -> Any:
        own = super().get_eval_dataloader(*arguments, **named)  # type: ignore[misc]  # likewise
        return FewBatches(own, self.probe_fit.val_batches)

    def training_step(self, *arguments: Any, **named: Any) -> Any:
        fit = self.probe_fit
        fit.begin_batch()
        fit.loss = super().training_step(*arguments, **named)  # type: ignore[misc]  # likewise
        return fit.loss

    def _evaluate(self, _trial: Any, ignore_keys_for_eval: Any, *_: Any, **__: Any) -> Any:
        fit = self.probe_fit
        data: Any = self.eval_dataset  # type: ignore[attr-defined]  # likewise
        names = list(data) if isinstance(data, dict) else [None]
        own = super().get_eval_dataloader  # type: ignore[misc]  # likewise
        loaders = [own(name) for name in names]
        fit.outer.fit_loop.epoch_loop.val_loop._combined_loader = SimpleNamespace(iterables=loaders)  # noqa: SLF001 - no public way
        fit.hook("on_validation_start")
        metrics = self.evaluate(ignore_keys=ignore_keys_for_eval)  # type: ignore[attr-defined]
        fit.hook("on_validation_end")
        return metrics

    def _determine_best_metric(self, *_: Any, **__: Any) -> bool:
        """Return False: few batches have no best metric."""
        return False

    def _save_checkpoint(self, *_: Any, **__: Any) -> None:
        """Save nothing."""


class _Bridge:
    """Mixed into transformers' TrainerCallback, the last one of a Trainer."""

    fit: TransformersFit
    trainer: Any

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.fit.begin(self.trainer)

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self.fit.hook("on_train_epoch_start")

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        self.fit.hook("on_before_optimizer_step", None)

    def on_substep_end(self, _args: Any, _state: Any, control: Any, **__: Any) -> None:
        self.fit.end_batch(self.trainer, last=False)
        self._decide(control)

    def on_step_end(self, _args: Any, _state: Any, control: Any, **__: Any) -> None:
        self.fit.end_batch(self.trainer, last=True)
        self._decide(control)
        control.should_evaluate = self.fit.stops and self.fit.validates

    def on_epoch_end(self, _args: Any, _state: Any, control: Any, **__: Any) -> None:
        self._decide(control)
        control.should_evaluate = not self.fit.stops and self.fit.validates

    def on_prediction_step(self, *_: Any, **__: Any) -> None:
        self.fit.hook("on_validation_batch_end", None, None, 0)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.fit.hook("on_train_end")

    def _decide(self, control: Any) -> None:
        """Let the probe alone end the training, whatever callbacks have asked for."""
        control.should_training_stop = self.fit.stops
        control.should_save = False
        if not self.fit.whole_epochs:
            control.should_epoch_stop = False


def _callback(fit: TransformersFit) -> Any:
    base = sys.modules["transformers.trainer_callback"].TrainerCallback
    made = type("ProbeCallback", (_Bridge, base), {})()
    made.fit = fit
    made.trainer = fit.module.training_object
    return made


def _silence(trainer: Any) -> None:
    """Remove the callbacks that show, report, save or end a training."""
    for callback in list(trainer.callback_handler.callbacks):
        if any(_is_silenced(kind) for kind in type(callback).__mro__):
            trainer.remove_callback(callback)


def _is_silenced(kind: type) -> bool:
    named = kind.__name__ in _SILENCED and kind.__module__.startswith(_PACKAGES)
    return named or kind.__module__.startswith(_REPORTING)


def _let_metrics_fail(trainer: Any) -> None:
    """Let metrics fail that a few batches may not have, such as an area under a curve."""
    compute = trainer.compute_metrics
    if compute is None:
        return

    @wraps(compute)
    def computed(*arguments: Any, **named: Any) -> Any:
        try:
            return compute(*arguments, **named)
        except (MemoryError, RuntimeError):
            raise
        except Exception:  # noqa: BLE001 - the probe asks what the metrics hold, not what they are
            return {}

    trainer.compute_metrics = computed


def _of_accelerate(optimizer: Any) -> bool:
    return any(kind.__module__.startswith("accelerate.") for kind in type(optimizer).__mro__)


def _refusal(trainer: Any) -> str | None:
    """Return why nobody can set the learning rates of the optimizer; None where one can."""
    name = str(getattr(trainer.args.optim, "value", trainer.args.optim))
    if name in _WITHIN_BACKWARD or name.endswith(_LAYERWISE):
        return (
            f"the Trainer's optimizer {name} takes its steps within the backward pass, where no "
            "rate can be set"
        )
    return None
