"""Keeps the values of tensors on a simulated GPU, where they are known and are not zeros.

Such a GPU computes nothing: every tensor that is not known here holds zeros. Known are

- values that are the same in the whole tensor, because they follow from zeros, as
  `torch.isfinite(x)` does, or were set, as `torch.ones(8)` was;
- integers and booleans that the host has copied to the GPU, such as labels, lengths and masks,
  short rows of other numbers, such as boxes, and what follows from them. So sizes that a batch
  decides are those of the batch.

A tensor's values lie in a *stand-in* on the CPU with as many dimensions, each as long as the
tensor's, or 1 where the values are the same along it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Stand-ins have at most this many elements for each element of the tensor's longest dimension, so
# that a row of tokens is kept and a picture of labels is not. What a batch decides must not change
# with the batch size.
_MOST_PER_ROW = 4096
# The host has to hold them: half a GiB of labels.
_MOST = 1 << 26
# Other numbers than integers decide where there are few of them in a row, as the corners of boxes.
_MOST_FLOATS_PER_ROW = 16
_PLAIN = (torch.Tensor, torch.nn.Parameter)


def is_on_gpu(value: object) -> bool:
    """Return whether this is a plain tensor on a GPU, no subclass such as a FakeTensor."""
    return (
        type(value) in _PLAIN
        and value.is_cuda  # type: ignore[attr-defined] # a tensor, by its type
        and value.layout is torch.strided  # type: ignore[attr-defined]
        and not value.is_nested  # type: ignore[attr-defined]
    )


class KnownValues:
    """The known values of tensors on the GPU; keeps none of these tensors alive."""

    def __init__(self) -> None:
        # With the version of the tensor: a value is no longer known when something has written.
        self._known: Any = WeakTensorKeyDictionary()

    def of(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return the stand-in of a tensor; None where it holds zeros."""
        kept = self._known.get(tensor)
        if kept is None or kept[0] != _version(tensor):
            return None
        stand_in: torch.Tensor = kept[1]
        return stand_in

    def forget(self, tensor: torch.Tensor) -> None:
        """Let a tensor have the values that are in the GPU's memory."""
        self._known.pop(tensor, None)

    def stand_in(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the stand-in of a tensor, of zeros where nothing else is known."""
        known = self.of(tensor)
        if known is not None:
            return known
        return torch.zeros((1,) * tensor.ndim, dtype=tensor.dtype, device="cpu")

    def full(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the values of a tensor in its own shape, on the CPU."""
        return self.stand_in(tensor).expand(tensor.shape)

    def number(self, tensor: torch.Tensor) -> Any:
        """Return the value of a tensor with one element; None where it is not known."""
        known = self.of(tensor)
        return None if known is None else _first(known).item()

    def any_of(self, values: Any) -> bool:
        """Return whether the values of one of these tensors are known."""
        return any(self.of(tensor) is not None for tensor in tensors_in(values))

    def evaluate_whole(
        self, function: Callable[..., Any], arguments: Any, keywords: Any, *, expands: bool = False
    ) -> Any:
        """Do so with stand-ins in the tensors' own shapes; raises ValueError for large tensors.

        expands: the function takes no memory for its result, so that tensors may be large.
        """
        for tensor in () if expands else tensors_in((arguments, keywords)):
            _refuse_large(tensor.shape)
        with torch.no_grad():
            return function(*_replaced(arguments, self.full), **_replaced(keywords, self.full))

    def evaluate(self, function: Callable[..., Any], arguments: Any, keywords: Any) -> Any:
        """Return what a function gives for stand-ins in the place of tensors on the GPU.

        Raises ValueError where its result would be large.
        """
        shapes = [self.stand_in(tensor).shape for tensor in tensors_in((arguments, keywords))]
        shapes = [shape for shape in shapes if math.prod(shape) > 1]
        if len(shapes) > 1:
            _refuse_large(broadcast(*shapes))
        with torch.no_grad():
            return function(
                *_replaced(arguments, self.stand_in), **_replaced(keywords, self.stand_in)
            )

    def keep(self, tensor: Any, values: Any, *, any_number: bool = False) -> None:
        """Keep the values of a tensor, or of several ones.

        any_number: also infinity. What zeros make infinite or not a number is not so in training,
        and counts as zero.
        """
        if isinstance(tensor, (tuple, list)):
            for one, value in zip(tensor, values, strict=False):
                self.keep(one, value, any_number=any_number)
            return
        if not (is_on_gpu(tensor) and isinstance(values, torch.Tensor)) or values.is_cuda:
            return
        stand_in = _compressed(values.detach(), tensor)
        if stand_in is None or not _is_meant(stand_in, any_number=any_number):
            self._known.pop(tensor, None)
            return
        self._known[tensor] = (_version(tensor), stand_in)

    def keep_copied(self, tensor: Any, source: torch.Tensor) -> None:
        """Keep what the host has copied to the GPU: single numbers, and rows of few of them."""
        if not is_on_gpu(tensor) or tensor.numel() == 0 or tensor.is_complex():
            return
        most = _MOST_FLOATS_PER_ROW if tensor.is_floating_point() else _MOST_PER_ROW
        if source.numel() == 1 or is_small(source.shape, most):
            with torch.no_grad():
                self.keep(tensor, source.detach().expand(tensor.shape).clone(), any_number=True)


def tensors_in(values: Any) -> list[torch.Tensor]:
    """Return the tensors on the GPU in arguments of a function."""
    if isinstance(values, (tuple, list)):
        return [tensor for value in values for tensor in tensors_in(value)]
    if isinstance(values, dict):
        return tensors_in(list(values.values()))
    return [values] if is_on_gpu(values) else []


def broadcast(*shapes: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of a result of tensors with these shapes."""
    return tuple(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call] # untyped in torch


def _replaced(values: Any, replace: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(values, (tuple, list)):
        return type(values)(_replaced(value, replace) for value in values)
    if isinstance(values, dict):
        return {name: _replaced(value, replace) for name, value in values.items()}
    return replace(values) if is_on_gpu(values) else values


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version  # noqa: SLF001 - documented


def _first(stand_in: torch.Tensor) -> torch.Tensor:
    return stand_in[(0,) * stand_in.ndim]


def is_small(shape: Sequence[int], most: int = _MOST_PER_ROW) -> bool:
    """Return whether a stand-in may have this shape: few elements in a row."""
    return math.prod(shape) <= min(_MOST, most * max(shape, default=1))


def _refuse_large(shape: Sequence[int]) -> None:
    if not is_small(shape):
        raise ValueError(f"a tensor of shape {tuple(shape)} has too many elements")


def _compressed(values: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor | None:
    """Return values as the stand-in of a tensor; None where they are zeros, or too many."""
    if values.numel() == 0 or tensor.numel() == 0:
        return None
    for place, (size, step) in enumerate(zip(values.shape, values.stride(), strict=True)):
        if size > 1 and step == 0:
            values = values.narrow(place, 0, 1)
    values = values.to(tensor.dtype)
    if values.numel() == 1 or bool((values == _first(values)).all()):
        values = _first(values).reshape((1,) * tensor.ndim)
        return values.clone() if bool(values != 0) else None
    fits = values.ndim == tensor.ndim and all(
        size in (1, own) for size, own in zip(values.shape, tensor.shape, strict=True)
    )
    return values if fits and is_small(values.shape) else None


def _is_meant(stand_in: torch.Tensor, *, any_number: bool) -> bool:
    if any_number or stand_in.numel() > 1 or not stand_in.dtype.is_floating_point:
        return True
    return bool(torch.isfinite(stand_in))
