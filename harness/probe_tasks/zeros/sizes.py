"""Holds the rules for functions whose results have a size that values decide.

On a simulated GPU they would find zeros of everything. Where the values are known, they give as
many elements as the values say.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch

from harness.probe_tasks.zeros.known_values import broadcast, is_on_gpu, is_small, tensors_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.probe_tasks.zeros.decisions import Decisions
    from harness.probe_tasks.zeros.known_values import KnownValues
    from harness.probe_tasks.zeros.rules import Rules

    Function = Callable[..., Any]


class SizeRules:
    """The rules, each for the functions of one kind; `function` is torch's own."""

    def __init__(self, known: KnownValues, decisions: Decisions, rules: Rules) -> None:
        self.known = known
        self.decisions = decisions
        self.rules = rules

    def index(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Take elements, of which a mask may decide how many there are."""
        tensor, index = arguments
        masks = [part for part in _parts(index) if _is_mask(part)]
        if not (masks and is_on_gpu(tensor)):
            numbers = self._numbers(index)
            return self.rules.view(function, (tensor, numbers), keywords)
        for mask in masks:
            # Takes memory for a while, as the search for elements does.
            torch._C.TensorBase.nonzero(mask)  # noqa: SLF001 - torch's own, without its rule
        result = self.rules.view(function, (tensor, self._on_cpu(index)), keywords)
        self.decisions.sizes(result.numel())
        return result

    def assign(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Assign elements, of which a mask may decide how many there are."""
        tensor, index, value = arguments
        if is_on_gpu(tensor) and index is Ellipsis:
            return self.rules.copied(function, (tensor, value), keywords)
        # A mask alone takes one value as it is, and finds no elements.
        several = isinstance(value, torch.Tensor) and value.ndim > 0
        finds = several or len(_parts(index)) > 1
        if finds and is_on_gpu(tensor) and any(map(_is_mask, _parts(index))):
            result = function(tensor, self._on_cpu(index), value)
            self.decisions.sizes(value.numel() if several else None)
            return result
        return function(tensor, self._numbers(index), value)

    def select(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Take the elements that a mask selects."""
        tensor, mask = (*arguments, keywords.get("mask"))[:2]
        result = function(*arguments, **keywords)
        if not is_on_gpu(mask):
            return result
        if self.known.of(mask) is not None and "out" not in keywords:
            shape = broadcast(tensor.shape, mask.shape)
            where = self.known.stand_in(mask).expand(shape)
            result = tensor.expand(shape)[where]
        self.decisions.sizes(result.numel())
        return result

    def find(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Find the places of what is not zero: `nonzero`, `argwhere`, `where` of one argument."""
        tensor = arguments[0]
        result = function(*arguments, **keywords)
        if not is_on_gpu(tensor):
            return result
        if self.known.of(tensor) is not None and "out" not in keywords:
            found = function(self.known.full(tensor), *arguments[1:], **keywords)
            result = _to(found, tensor.device)
            self.known.keep(result, found)
        self.decisions.sizes(sum(one.numel() for one in tensors_in(result)))
        return result

    def where(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Choose between two tensors, or find the places of one."""
        if len(arguments) + len(keywords) == 1:
            return self.find(function, arguments, keywords)
        return self.rules.pointwise(function, arguments, keywords)

    def unique(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Find the values that differ: of zeros there is one."""
        tensor = arguments[0]
        result = function(*arguments, **keywords)
        if not is_on_gpu(tensor) or tensor.numel() == 0:
            return result
        if is_small(tensor.shape):
            found = function(self.known.full(tensor), *arguments[1:], **keywords)
            result = _to(found, tensor.device)
            self.known.keep(result, found)
        self.decisions.sizes(tensors_in(result)[0].numel())
        return result

    def repeat(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Repeat elements as often as a tensor says."""
        tensor, repeats, dim = _repeated(*arguments, **keywords)
        if not is_on_gpu(repeats) or keywords.get("output_size") is not None:
            return function(*arguments, **keywords)
        if self.known.of(repeats) is not None:
            size = int(self.known.full(repeats).sum())
            if repeats.numel() == 1 and repeats is not tensor:
                size *= tensor.numel() if dim is None else tensor.shape[dim]
            keywords = {**keywords, "output_size": size}
        result = function(*arguments, **keywords)
        self.decisions.sizes(result.numel())
        return result

    def count(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Count classes, of which there are as many as the largest value says."""
        tensor, name = arguments[0], "minlength" if "count" in function.__name__ else "num_classes"
        given = arguments[-1] if len(arguments) > 1 else keywords.get(name, -1)
        if not is_on_gpu(tensor):
            return function(*arguments, **keywords)
        if name == "num_classes" and given != -1:
            return self.rules.pointwise(function, arguments, keywords)
        keywords = {key: self.rules.as_number(value) for key, value in keywords.items()}
        with suppress(Exception):
            largest = int(self.known.stand_in(tensor).max()) + 1
            if len(arguments) == 1:
                keywords[name] = max(int(keywords.get(name, given)), largest)
        result = function(*arguments, **keywords)
        with suppress(Exception):
            values = self.known.evaluate_whole(function, arguments, keywords)
            self.known.keep(result, values)
        if not (isinstance(given, int) and given == len(result)):  # else the caller decides
            self.decisions.sizes(result.numel())
        return result

    def align(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Compute a CTC loss, for which torch reads lengths itself."""
        lengths = [
            self.known.full(one).contiguous()
            if is_on_gpu(one) and self.known.of(one) is not None
            else one
            for one in arguments[2:4]
        ]
        return function(*arguments[:2], *lengths, *arguments[4:], **keywords)

    def sample(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Draw samples as torch does, without its check: of values that it reads itself."""
        tensor, number, again = _sampled(*arguments, **keywords)
        if not is_on_gpu(tensor) or (again and number > 1) or keywords.get("out") is not None:
            return function(*arguments, **keywords)
        tensor = tensor.detach()
        drawn = torch.empty_like(tensor).exponential_(1, generator=keywords.get("generator"))
        torch.div(tensor, drawn, out=drawn)
        if number == 1:
            return drawn.argmax(-1, keepdim=True)
        return drawn.topk(number, -1).indices

    def normal(self, function: Function, arguments: Any, keywords: Any) -> Any:
        """Draw from normal distributions as torch does, without its check of their deviations."""
        mean, deviation = _deviating(*arguments, **keywords)
        if not is_on_gpu(deviation) or keywords.get("out") is not None:
            return function(*arguments, **keywords)
        with torch.no_grad():
            shape: Sequence[int] = deviation.shape
            if isinstance(mean, torch.Tensor):
                shape = broadcast(mean.shape, shape)
            return (
                torch.empty(shape, dtype=deviation.dtype, device=deviation.device)
                .normal_()
                .mul_(deviation)
                .add_(mean)
            )

    def _on_cpu(self, index: Any) -> Any:
        """Return an index with the known values of its masks, which CUDA would have to find."""
        if isinstance(index, (tuple, list)):
            return tuple(self._on_cpu(part) for part in index)
        if _is_mask(index) and self.known.of(index) is not None:
            return self.known.full(index)
        return self._numbers(index)

    def _numbers(self, index: Any) -> Any:
        """Return an index with numbers for the tensors that bound its slices."""
        if isinstance(index, tuple):
            return tuple(self._numbers(part) for part in index)
        if isinstance(index, slice) and tensors_in([index.start, index.stop, index.step]):
            return slice(*(_bound(part) for part in (index.start, index.stop, index.step)))
        return index


def _bound(value: Any) -> Any:
    """Return a number for a tensor; to ask a tensor for it is noted, and answered as known."""
    return int(value) if is_on_gpu(value) else value


def _parts(index: Any) -> tuple[Any, ...]:
    return tuple(index) if isinstance(index, (tuple, list)) else (index,)


def _is_mask(value: Any) -> bool:
    return is_on_gpu(value) and value.dtype in (torch.bool, torch.uint8)


def _to(values: Any, device: torch.device) -> Any:
    if isinstance(values, (tuple, list)):
        return type(values)(_to(value, device) for value in values)
    return values.to(device) if isinstance(values, torch.Tensor) else values


def _repeated(input: Any, repeats: Any = None, dim: int | None = None, **_: Any) -> Any:  # noqa: A002 - torch's own names
    return input, input if repeats is None else repeats, dim


def _deviating(mean: Any, std: Any = 1.0, *_: Any, **__: Any) -> Any:
    return mean, std


def _sampled(input: Any, num_samples: int, replacement: bool = False, **_: Any) -> Any:  # noqa: A002, FBT001, FBT002 - torch's own names
    return input, num_samples, replacement
