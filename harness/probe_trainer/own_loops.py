"""Lets a training that has a loop of its own run it in the place of Lightning's.

That is a transformers.Trainer, or a function that trains when it is called. The function is left as
it is: its optimizers and its backward passes tell where it is, and the probe ends it within the
last of its steps.
"""

from __future__ import annotations

import importlib
import math
from collections import Counter
from contextlib import ExitStack, contextmanager
from functools import wraps
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.data import DataLoader

from harness.errors import LoopEndedError
from harness.memory_bounds import HostBound
from harness.memory_bounds.held import (
    Held,
    batch_tensors,
    engage_again,
    plain_torch,
    state_tensors,
)
from harness.probe_trainer.transformers_fit import TransformersFit
from harness.workload.step_training import full_batches_of, living_modules, new_modules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.memory_bounds.memory_bound import MemoryBound
    from harness.workload.build import Workload


def hand_over(outer: Any, workload: Workload, bound: MemoryBound) -> None:
    """Let a Trainer of Lightning's hand its fit over where the training has a loop of its own."""
    loop = outer.fit_loop
    own = loop.run

    def run() -> None:
        module = workload.module
        if module.is_trainer:
            TransformersFit(outer, workload, bound.uncounted).run(module.training_object)
        elif module.is_loop:
            LoopFit(outer, workload, bound).run(module.training_object)
        else:
            own()

    loop.run = run


class _Ended(BaseException):
    """Ends the user's function, past its own handlers of exceptions."""


class LoopFit:
    """One run of a function that trains, as the callbacks of a probe see it.

    A batch is what an optimizer step takes, accumulation inside. The loss of a step is the sum of
    what its backward passes begin with.
    """

    def __init__(self, outer: Any, workload: Workload, bound: MemoryBound) -> None:
        self._outer = outer
        self._module = workload.module
        self._bound = bound
        self._call = importlib.import_module(f"{workload.lightning.__name__}.trainer.call")
        self._optimizers: list[Any] = []
        self._known: set[int] = set()
        self._loading = ExitStack()
        self._has_begun = False
        self._is_beginning = False
        self._steps: Counter[int] = Counter()
        self._num_batches = 0
        self._losses: list[torch.Tensor] = []
        self._unscaled: dict[int, torch.Tensor] = {}
        self._raised: BaseException | None = None

    def run(self, train: Callable[[], Any]) -> None:
        """Call the function until the probe's callbacks ask for the end."""
        strategy = self._outer.strategy
        counter = strategy.optimizers
        self._known = {id(module) for module in living_modules()}
        try:
            with self._watched(), full_batches_of(self._module.batch_size):
                # What it makes before its first batch is no part of the case, its models apart.
                self._loading.enter_context(self._bound.uncounted())
                train()
        except _Ended:
            if self._raised is not None:
                raise self._raised from None
        else:
            took = "1 optimizer step" if self._num_batches == 1 else f"{self._num_batches} steps"
            raise LoopEndedError(
                f"the loop of the training {self._module.class_path} ended by itself after {took}: "
                "let it take more, by its number of steps or of epochs; a probe ends it after "
                "search.steps_per_trial of them, and a trial of a learning rate after lr_range's "
                "horizon"
            )
        finally:
            self._loading.close()
            # Lightning would move both to the CPU.
            strategy._optimizers = counter  # noqa: SLF001 - its setter wraps them
            for name in self._module.trained:
                self._module._modules.pop(name, None)  # noqa: SLF001 - likewise
        self._tell("on_train_end")

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """See optimizers that are made, and what they and backward passes do, in the block."""
        with ExitStack() as stack:
            for handle in (
                register_optimizer_step_pre_hook(self._before_step),
                register_optimizer_step_post_hook(self._after_step),
                torch.nn.modules.module.register_module_forward_pre_hook(self._before_forward),
            ):
                stack.callback(handle.remove)
            _replace(stack, torch.optim.Optimizer, "__init__", self._noting)
            _replace(stack, DataLoader, "__iter__", self._beginning)
            _replace(stack, torch.amp.GradScaler, "scale", self._around_scale)
            for owner in (torch.autograd, torch.autograd.graph):
                if hasattr(owner, "_engine_run_backward"):
                    _replace(stack, owner, "_engine_run_backward", self._around_backward)
            yield

    def _noting(self, made: Callable[..., None]) -> Callable[..., None]:
        @wraps(made)
        def init(mine: Any, *values: Any, **named: Any) -> None:
            made(mine, *values, **named)
            if not self._is_beginning:
                self._optimizers.append(mine)

        return init

    def _beginning(self, iterate: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(iterate)
        def begin(mine: Any) -> Any:
            self._begin()
            return iterate(mine)

        return begin

    def _around_scale(self, scale: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(scale)
        def scaled(mine: Any, outputs: Any) -> Any:
            found = scale(mine, outputs)
            if isinstance(outputs, torch.Tensor):
                self._unscaled[id(found)] = outputs
            return found

        return scaled

    def _around_backward(self, run: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(run)
        def backward(outputs: Any, *values: Any, **named: Any) -> Any:
            if self._is_beginning or not named.get("accumulate_grad"):
                return run(outputs, *values, **named)  # gradients for their own sake
            self._begin()
            self._tell("on_before_backward", None)
            found = (self._unscaled.pop(id(one), one) for one in outputs)
            self._losses += [one.detach() for one in found if one.numel() == 1]
            result = run(outputs, *values, **named)
            self._tell("on_train_batch_start", None, self._num_batches)  # it goes on with this one
            return result

        return backward

    def _before_forward(self, _module: Any, arguments: tuple[Any, ...]) -> None:
        if not self._has_begun and torch.is_grad_enabled():
            self._begin(arguments)

    def _begin(self, arguments: tuple[Any, ...] = ()) -> None:
        """Limit the memory, and show what the function has made, where its training begins."""
        if self._has_begun or self._is_beginning or not self._optimizers:
            return
        self._is_beginning = True
        self._loading.close()
        if isinstance(self._bound, HostBound):
            batch = batch_tensors(torch, arguments, self._module.batch_size)
            held = Held(chain(state_tensors(torch), batch))
            with plain_torch(torch):
                engage_again(self._bound, held)
        self._module.trained = new_modules(self._known)
        for name, module in self._module.trained.items():
            self._module.add_module(name, module)
        self._outer.strategy._optimizers = [*self._optimizers]  # noqa: SLF001 - its setter wraps them
        self._outer.fit_loop.max_batches = math.inf
        self._is_beginning = False
        self._has_begun = True
        self._tell("on_train_start")
        self._tell("on_train_epoch_start")
        self._tell("on_train_batch_start", None, 0)

    def _before_step(self, *_: Any) -> None:
        if not self._is_beginning:
            self._begin()
            self._tell("on_before_optimizer_step", None)

    def _after_step(self, optimizer: Any, *_: Any) -> None:
        if self._is_beginning:
            return
        self._steps[id(optimizer)] += 1
        if self._steps[id(optimizer)] <= self._num_batches:
            return  # of several optimizers the first one has told this batch
        losses, self._losses = self._losses, []
        self._unscaled.clear()
        outputs = {"loss": torch.stack([one.float() for one in losses]).sum()} if losses else None
        self._outer.fit_loop.epoch_loop.batch_progress.is_last_batch = True
        self._tell("on_train_batch_end", outputs, None, self._num_batches)
        self._num_batches += 1
        if self._outer.should_stop:
            raise _Ended
        self._tell("on_train_batch_start", None, self._num_batches)

    def _tell(self, name: str, *arguments: Any) -> None:
        """Call a hook of the probe's callbacks, whose exceptions end the function, too."""
        try:
            self._call._call_callback_hooks(self._outer, name, *arguments)  # noqa: SLF001 - no other way
        except Exception as error:
            self._raised = error
            raise _Ended from error


def _replace(stack: ExitStack, owner: Any, name: str, around: Callable[[Any], Any]) -> None:
    """Put a function around another one until the stack ends."""
    own = getattr(owner, name)
    setattr(owner, name, around(own))
    stack.callback(setattr, owner, name, own)
