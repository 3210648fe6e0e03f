"""Bounds the memory of a program's process, from the moment that its training begins.

On a GPU that is when CUDA starts. On the CPU the limit is on what the case itself holds, and not on
what imports and data sets take. So it begins with the first batch: where the first loader is asked
for one, or else where the first module is called, once there is an optimizer.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from harness.commands.inside.ranks import limit_all_gpus, local_rank, most_used_gpu
from harness.errors import MachineError
from harness.memory_bounds import make_bound
from harness.memory_bounds.cuda import CudaBound
from harness.memory_bounds.held import (
    Held,
    LateBound,
    batch_tensors,
    bytes_of_buckets,
    plain_torch,
    state_tensors,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from harness.memory_bounds.memory_bound import MemoryBound
    from harness.protocol.case import BoundSpec


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
        *,
        in_ranks: bool = False,
    ) -> None:
        self.spec = spec
        self._in_ranks = in_ranks
        self.bound: MemoryBound = (
            LateBound(spec["budget_bytes"]) if spec["accelerator"] == "cpu" else make_bound(spec)
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
            self.begin_on_host(lambda: batch_tensors(torch, arguments, self._batch_size))
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
            with plain_torch(self._torch):
                self.bound.engage(Held(chain(state_tensors(self._torch), batch())))
                if self._in_ranks and isinstance(self.bound, LateBound):
                    self.bound.count_as_held(bytes_of_buckets())
        finally:
            self.is_beginning = False
        self.is_set = True
        self._begun()

    def uninstall(self) -> None:
        """Wait no longer for a first call."""
        while self._handles:
            self._handles.pop().remove()

    def find_device(self) -> None:
        """Look which GPU a rank has, where the process sees those of all ranks."""
        if self._in_ranks and self.is_set and isinstance(self.bound, CudaBound):
            self.bound.index = most_used_gpu(self._torch, self.bound.index)

    def _start_cuda(self) -> None:
        try:
            if self._in_ranks and isinstance(self.bound, CudaBound):
                self.bound.index = local_rank(self._torch)
            self.bound.start()
            if self._in_ranks and isinstance(self.bound, CudaBound):
                limit_all_gpus(self._torch, self.bound.limit_bytes)
        except MachineError as error:
            self._trouble(str(error))
            return
        self.is_set = True
        self._begun()
