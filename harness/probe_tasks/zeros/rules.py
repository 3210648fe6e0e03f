"""Holds the rules by which functions of torch act on known values of a simulated GPU.

A rule calls the function itself, so that the same kernels run and the same memory is taken, and
then keeps what the function gives for known values. Where a value leaves the GPU, the rule answers
with it.
"""

from __future__ import annotations

import math
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from harness.probe_tasks.zeros.known_values import broadcast, is_on_gpu, is_small, tensors_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

    from harness.probe_tasks.zeros.decisions import Decisions
    from harness.probe_tasks.zeros.known_values import KnownValues

    Function = Callable[..., Any]


_LBFGS = str(Path("torch", "optim", "lbfgs.py"))
_DISTRIBUTION = str(Path("torch", "distributions", "distribution.py"))
_OWN = (__file__, str(Path(__file__).with_name("table.py")))
# Those that take no memory for their result.
_EXPANDING = ("expand", "expand_as", "broadcast_to")
# Those that may make something else of zeros.
_FROM_ZERO = ("add_", "sub_", "masked_fill_", "__iadd__", "__isub__")
_STEPS = ("step", "_directional_evaluate")


class Rules:
    """The rules, each for many functions; `function` is torch's own."""

    def __init__(self, known: KnownValues, decisions: Decisions) -> None:
        self.known = known
        self.decisions = decisions
        self._losses = 0

    # ---- functions of values

    def pointwise(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Evaluate a function whose result may not be zero where its arguments are."""
        result = function(*arguments, **keywords)
        if tensors_in(result) and "out" not in keywords:
            with suppress(Exception):
                self.known.keep(result, self.known.evaluate(function, arguments, keywords))
        return result

    def preserving(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Evaluate a function that gives zeros for zeros."""
        if self.known.any_of((arguments, keywords)):
            return self.pointwise(function, arguments, keywords)
        return function(*arguments, **keywords)

    def whole(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Evaluate a function for which the place of a value counts, or the number of values."""
        result = function(*arguments, **keywords)
        if "out" not in keywords and self.known.any_of((arguments, keywords)):
            with suppress(Exception):
                self.known.keep(result, self.known.evaluate_whole(function, arguments, keywords))
        return result

    def in_place(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Evaluate a function that changes its tensor."""
        values = None
        if tensors_in(arguments) and (
            self.known.any_of((arguments, keywords)) or function.__name__ in _FROM_ZERO
        ):
            with suppress(Exception), torch.no_grad():
                target = self.known.full(arguments[0])
                if "scatter" in function.__name__ or "index" in function.__name__:
                    rest = (target.clone(), *arguments[1:])
                    values = self.known.evaluate_whole(function, rest, keywords)
                else:
                    rest = (self.known.stand_in(arguments[0]), *arguments[1:])
                    values = self.known.evaluate(_out_of_place(function), rest, keywords)
        result = function(*arguments, **keywords)
        if values is not None:
            with suppress(Exception):
                self.known.keep(arguments[0], values)
        return result

    def kept(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Keep the scale of a GradScaler: where no gradient is infinite, it stays or grows."""
        known = self.known.of(arguments[0]) if tensors_in(arguments[:1]) else None
        result = function(*arguments, **keywords)
        if known is not None:
            self.known.keep(arguments[0], known)
        return result

    def sums(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Evaluate a sum: a stand-in has fewer elements than its tensor."""
        result = function(*arguments, **keywords)
        if self.known.any_of(arguments[:1]) and is_on_gpu(result) and "out" not in keywords:
            with suppress(Exception):
                summed = self.known.evaluate(function, arguments, keywords)
                tensor, stand_in = arguments[0], self.known.stand_in(arguments[0])
                times = tensor.numel() // stand_in.numel() * summed.numel() // result.numel()
                self.known.keep(result, summed * times)
        return result

    def softmax(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Evaluate a softmax of equal values."""
        result = function(*arguments, **keywords)
        if is_on_gpu(result) and result.numel() and "out" not in keywords:
            with suppress(Exception):
                size = result.shape[keywords["dim"] if "dim" in keywords else arguments[1]]
                value = -math.log(size) if "log" in function.__name__ else 1 / size
                self.known.keep(result, torch.tensor(value, dtype=result.dtype, device="cpu"))
        return result

    # ---- the same values in another shape or place

    def view(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Hand the values on, as a view, a copy or a conversion of the same tensor does."""
        result = function(*arguments, **keywords)
        tensor = arguments[0]
        stand_in = self.known.of(tensor) if is_on_gpu(tensor) else None
        if stand_in is not None and tensors_in(result):
            with suppress(Exception):
                if stand_in.numel() == 1:
                    several = isinstance(result, (tuple, list))
                    values: Any = [stand_in] * len(result) if several else stand_in
                    self.known.keep(result, values, any_number=True)
                else:
                    expands = function.__name__ in _EXPANDING
                    values = self.known.evaluate_whole(
                        function, arguments, keywords, expands=expands
                    )
                    self.known.keep(result, values, any_number=True)
        return result

    def joined(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Join the values of several tensors."""
        result = function(*arguments, **keywords)
        parts = arguments[0] if arguments else keywords.get("tensors", ())
        if self.known.any_of(parts) and is_on_gpu(result) and is_small(result.shape):
            with suppress(Exception):
                whole = [self.known.full(part) for part in parts]
                self.known.keep(result, function(whole, *arguments[1:], **keywords))
        return result

    def moved(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Hand values on to the GPU, from it, or within it."""
        tensor = arguments[0]
        result = function(*arguments, **keywords)
        if is_on_gpu(tensor):
            known = self.known.of(tensor)
            if result.device.type == "cpu":
                self._fetch(result, tensor)
            elif known is not None:
                self.known.keep(result, known, any_number=True)
            return result
        if result is not tensor and is_on_gpu(result) and tensor.device.type == "cpu":
            with suppress(Exception):
                self.known.keep_copied(result, tensor)
        return result

    def copied(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Hand values on in `copy_`, and in an assignment to all of a tensor."""
        result = function(*arguments, **keywords)
        target, source = (*arguments, keywords.get("src"))[:2]
        with suppress(Exception):
            if is_on_gpu(target) and is_on_gpu(source):
                self.known.keep(target, self.known.stand_in(source), any_number=True)
            elif is_on_gpu(target):
                self.known.keep_copied(target, source)
            elif is_on_gpu(source):
                self._fetch(target, source)
        return result

    def _fetch(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """Put the known values of a tensor on the GPU into its copy on the CPU."""
        self.decisions.reads()
        known = self.known.of(source)
        if known is not None:
            with torch.no_grad():
                target.detach().copy_(known.expand(source.shape))

    # ---- values that are set

    def made(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Keep the numbers that a tensor is made of on the GPU."""
        arguments = tuple(self.as_number(argument) for argument in arguments)
        result = function(*arguments, **keywords)
        if is_on_gpu(result) and not tensors_in((arguments, keywords)):
            with suppress(Exception), torch.no_grad():
                on_cpu = function(*arguments, **{**keywords, "device": "cpu"})
                self.known.keep_copied(result, on_cpu)
        return result

    def filled(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Keep the number that fills a tensor on the GPU: ones, or an argument."""
        result = function(*arguments, **keywords)
        if is_on_gpu(result):
            with suppress(Exception):
                value: Any = 1
                if "ones" not in function.__name__:
                    place = 2 if function.__name__ == "new_full" else 1
                    named = keywords.get("fill_value", keywords.get("value"))
                    value = arguments[place] if named is None else named
                value = self.known.stand_in(value) if is_on_gpu(value) else value
                number = torch.as_tensor(value, device="cpu")
                self.known.keep(result, number, any_number=True)
        return result

    def as_number(self, argument: Any) -> Any:
        """Return a number for a tensor on the GPU that stands for one."""
        if is_on_gpu(argument) and argument.numel() == 1:
            number = self.known.number(argument)
            return argument if number is None else number
        return argument

    # ---- values that the host reads

    def read(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Answer `item`, `float` and `tolist`: they read, and decide nothing by themselves."""
        tensor = arguments[0]
        if not is_on_gpu(tensor):
            return function(*arguments, **keywords)
        if _asks_lbfgs() and tensor.numel() == 1:
            self._losses += 1
            return -float(self._losses)
        self.decisions.reads()
        return self._answer(function, arguments, keywords)

    def decide(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Answer `bool`, `int` and indices: they decide how the training goes on."""
        tensor = arguments[0]
        if not is_on_gpu(tensor):
            return function(*arguments, **keywords)
        answer = self._answer(function, arguments, keywords)
        if _asker().co_filename.endswith(_DISTRIBUTION):
            return True  # what distributions check of their parameters holds in a training
        if isinstance(answer, bool) and _asks_lbfgs():
            return not answer
        self.decisions.decides(answer)
        return answer

    def compared(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Answer `torch.equal` and `torch.allclose`."""
        if not tensors_in(arguments):
            return function(*arguments, **keywords)
        answer = function(*arguments, **keywords)
        with suppress(Exception), torch.no_grad():
            first, second = (
                self.known.stand_in(one) if is_on_gpu(one) else one for one in arguments[:2]
            )
            if arguments[0].shape == arguments[1].shape:
                shape = broadcast(first.shape, second.shape)
                both = first.expand(shape), second.expand(shape)
                answer = function(*both, *arguments[2:], **keywords)
        self.decisions.decides(answer)
        return answer

    def shown(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Answer what is printed; it decides nothing."""
        with self.decisions.quiet():
            return function(*arguments, **keywords)

    def _answer(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Return what a function reads; it is called all the same, as it waits for the GPU."""
        answer = function(*arguments, **keywords)
        known = self.known.of(arguments[0])
        if known is None:
            return answer
        with torch.no_grad():
            return function(known.expand(arguments[0].shape), *arguments[1:], **keywords)


def _out_of_place(function: Function) -> Function:
    """Return the function that gives what another one puts into its first argument."""
    name = function.__name__
    name = f"__{name[3:]}" if name.startswith("__") else name[:-1]
    found: Function = getattr(torch._C.TensorBase, name)  # noqa: SLF001 - torch's own methods
    return found


def _asks_lbfgs() -> bool:
    """Return whether it is a step of L-BFGS that asks, as it would find each gradient zero.

    It would end at once, and never keep the history that takes its memory. A training comes nearer
    to its minimum: each loss is smaller than the one before, and nothing has converged.
    """
    code = _asker()
    return code.co_filename.endswith(_LBFGS) and code.co_name in _STEPS


def _asker() -> CodeType:
    """Return the code that called the function which stands in the place of torch's."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way
    while frame is not None and frame.f_code.co_filename in _OWN:
        frame = frame.f_back
    assert frame is not None, "rules are called by functions that torch's users call"
    return frame.f_code
