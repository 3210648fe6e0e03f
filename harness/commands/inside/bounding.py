"""Bounds the memory of a program's process, from the moment that its training begins.

On a GPU that is when CUDA starts. On the CPU the limit is on what the case itself holds, and not on
what imports and data sets take. So it begins with the first batch: where the first loader is asked
for one, or else where the first module is called, once there is an optimizer.
"""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

from harness.errors import MachineError
from harness.memory_bounds import make_bound
from harness.memory_bounds.host import HostBound, memory_of_this_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from harness.memory_bounds.memory_bound import MemoryBound
    from harness.protocol.case import BoundSpec

# Values of the program's variables in which a batch may lie: a tuple of tensors, a dict of them.
_MOST_MEMBERS = 100


class _Held:
    """Stands for a module that has everything that the case holds when the limit begins."""

    def __init__(self, tensors: Iterable[Any]) -> None:
        self._tensors = list(tensors)

    def parameters(self) -> list[Any]:
        """Return all tensors."""
        return self._tensors

    def buffers(self) -> list[Any]:
        """Return none beside."""
        return []


class _LateBound(HostBound):
    """A limit that begins in the middle of a process, whose size may have been larger before."""

    def engage(self, module: Any) -> None:
        """Set the limit, and leave out the largest size so far."""
        super().engage(module)
        self._peak_uncounted = memory_of_this_process()["VmPeak"]


class Bounding:
    """Makes the bound of this process, and sets it when its training begins.

    begun: called when the limit is set.
    trouble: called with the reason why it cannot be.
    """

    def __init__(
        self,
        torch: Any,
        spec: BoundSpec,
        batch_size: int,
        begun: Callable[[], None],
        trouble: Callable[[str], None],
    ) -> None:
        self.spec = spec
        self.bound: MemoryBound = (
            _LateBound(spec["budget_bytes"]) if spec["accelerator"] == "cpu" else make_bound(spec)
        )
        self.is_set = False
        self.is_beginning = False
        """Whether a step of our own is running, which is no step of the program's."""
        self.has_optimizer = False
        self._torch = torch
        self._batch_size = batch_size
        self._begun = begun
        self._trouble = trouble
        self._handles: list[Any] = []

    def install(self, on_root: Callable[[Any], None]) -> None:
        """Wait for the training to begin.

        on_root: called with the first module that is called once there is an optimizer.
        """
        torch = self._torch
        if self.spec["accelerator"] == "cuda":
            torch.cuda._lazy_call(self._start_cuda)  # noqa: SLF001 - torch has no other way

        def at_first_call(module: Any, arguments: tuple[Any, ...]) -> None:
            if self.is_beginning or not self.has_optimizer or not torch.is_grad_enabled():
                return
            self.uninstall()
            self.begin_on_host(lambda: self._batch(arguments))
            on_root(module)

        register = torch.nn.modules.module.register_module_forward_pre_hook
        self._handles.append(register(at_first_call))

    def begin_on_host(self, batch: Callable[[], Iterable[Any]] = tuple) -> None:
        """Set the limit of the CPU, unless it is set.

        batch: returns the tensors of a batch that is made already.
        """
        if self.is_set or self.is_beginning or self.spec["accelerator"] != "cpu":
            return
        self.is_beginning = True
        try:
            self.bound.start()
            held = {id(tensor): tensor for tensor in chain(self._state(), batch())}
            with self._plain_torch():
                self.bound.engage(_Held(held.values()))
        finally:
            self.is_beginning = False
        self.is_set = True
        self._begun()

    def uninstall(self) -> None:
        """Wait no longer for a first call."""
        while self._handles:
            self._handles.pop().remove()

    @contextmanager
    def _plain_torch(self) -> Iterator[None]:
        """Let torch compute as it does by default, whatever the program has set around this."""
        torch = self._torch
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

    def _start_cuda(self) -> None:
        try:
            self.bound.start()
        except MachineError as error:
            self._trouble(str(error))
            return
        self.is_set = True
        self._begun()

    def _state(self) -> Iterator[Any]:
        """Yield the parameters, gradients and buffers of all modules that are there."""
        module = self._torch.nn.Module
        for thing in gc.get_objects():
            if issubclass(type(thing), module):
                for owned in (thing.__dict__.get("_parameters"), thing.__dict__.get("_buffers")):
                    for tensor in (owned or {}).values():
                        yield from self._usable([tensor, getattr(tensor, "grad", None)])

    def _batch(self, arguments: Iterable[Any]) -> Iterator[Any]:
        """Yield the tensors of a first batch: what a module is given, and what lies beside it.

        Labels do not go through the module as a rule. They are in a variable of those who call it,
        and have as many rows as the batch.
        """
        yield from self._usable(chain.from_iterable(map(_members, arguments)))
        frame = sys._getframe(1)  # noqa: SLF001 - its frames are all there is
        while frame is not None:
            if "/torch/" not in frame.f_code.co_filename:
                members = chain.from_iterable(map(_members, list(frame.f_locals.values())))
                yield from (one for one in self._usable(members) if self._is_of_batch(one))
            frame = frame.f_back  # type: ignore[assignment] # None ends the loop

    def _is_of_batch(self, tensor: Any) -> bool:
        return bool(tensor.dim() > 0 and tensor.shape[0] == self._batch_size)

    def _usable(self, things: Iterable[Any]) -> Iterator[Any]:
        """Yield the tensors among things whose memory is this process's."""
        for thing in things:
            if issubclass(type(thing), self._torch.Tensor) and thing.device.type == "cpu":
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
