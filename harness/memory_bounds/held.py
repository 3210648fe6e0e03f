"""Tensors that a training holds when its limit begins late: at its first batch, when all is built.

On the CPU the limit is on what the case itself holds. A loop of its own makes models and loads data
sets before its first batch, so the limit begins there, and counts these tensors as the case's.
"""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

from harness.memory_bounds.host import HostBound, memory_of_this_process

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Values of the program's variables in which a batch may lie: a tuple of tensors, a dict of them.
_MOST_MEMBERS = 100


class Held:
    """Stands for a module that has everything that the case holds when the limit begins."""

    def __init__(self, tensors: Iterable[Any]) -> None:
        self._tensors = list({id(tensor): tensor for tensor in tensors}.values())

    def parameters(self) -> list[Any]:
        """Return all tensors."""
        return self._tensors

    def buffers(self) -> list[Any]:
        """Return none beside."""
        return []


class LateBound(HostBound):
    """A limit that begins in the middle of a process, whose size may have been larger before."""

    def engage(self, module: Any) -> None:
        """Set the limit, and leave out the largest size so far."""
        super().engage(module)
        self._peak_uncounted = memory_of_this_process()["VmPeak"]


def engage_again(bound: HostBound, module: Any) -> None:
    """Set a limit anew that is in force, as a `LateBound` sets one."""
    if bound._share is not None:  # noqa: SLF001 - else it was lifted
        bound.engage(module)
        bound._peak_uncounted = memory_of_this_process()["VmPeak"]  # noqa: SLF001 - likewise


def state_tensors(torch: Any) -> Iterator[Any]:
    """Yield the parameters, gradients and buffers of all modules that are there."""
    module = torch.nn.Module
    for thing in gc.get_objects():
        if issubclass(type(thing), module):
            for owned in (thing.__dict__.get("_parameters"), thing.__dict__.get("_buffers")):
                for tensor in (owned or {}).values():
                    yield from _usable(torch, [tensor, getattr(tensor, "grad", None)])


def bytes_of_buckets() -> int:
    """Return the bytes of the buckets in which wrapped models add up their gradients."""
    from torch.nn.parallel import DistributedDataParallel  # noqa: PLC0415 - a rank alone needs it

    return sum(
        tensor.untyped_storage().nbytes()
        for thing in gc.get_objects()
        if issubclass(type(thing), DistributedDataParallel)
        for tensor in thing.parameters()
        if tensor.requires_grad
    )


def batch_tensors(torch: Any, arguments: tuple[Any, ...], batch_size: int) -> Iterator[Any]:
    """Yield the tensors of a first batch: what a module is given, and what lies beside it.

    Labels do not go through the module as a rule. They are in a variable of those who call it, and
    have as many rows as the batch.
    """
    yield from _usable(torch, chain.from_iterable(map(_members, arguments)))
    frame = sys._getframe(1)  # noqa: SLF001 - its frames are all there is
    while frame is not None:
        if "/torch/" not in frame.f_code.co_filename:
            members = chain.from_iterable(map(_members, list(frame.f_locals.values())))
            for one in _usable(torch, members):
                if one.dim() > 0 and one.shape[0] == batch_size:
                    yield one
        frame = frame.f_back  # type: ignore[assignment] # None ends the loop


@contextmanager
def plain_torch(torch: Any) -> Iterator[None]:
    """Let torch compute as it does by default, whatever the program has set around this."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with (
            torch.inference_mode(mode=False),
            torch.enable_grad(),
            torch.autocast("cpu", enabled=False),
            torch.device("cpu"),
        ):
            yield
    finally:
        torch.set_default_dtype(dtype)


def _usable(torch: Any, things: Iterable[Any]) -> Iterator[Any]:
    """Yield the tensors among things whose memory is this process's."""
    for thing in things:
        if issubclass(type(thing), torch.Tensor) and thing.device.type == "cpu":
            try:
                thing.untyped_storage().data_ptr()
            except (RuntimeError, NotImplementedError):  # sparse, fake or lazy
                continue
            yield thing


def _members(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return list(value.values())[:_MOST_MEMBERS]
    if isinstance(value, (tuple, list)):
        return value[:_MOST_MEMBERS]
    return (value,)
