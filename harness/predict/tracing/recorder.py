"""Records what fake tensors allocate and free: a dispatch mode over torch's FakeTensorMode.

Sizes are those of storages. A storage is allocated when an operator first returns a tensor on it,
and freed when Python and autograd have let go of it.
"""

from __future__ import annotations

import inspect
import weakref
from collections import Counter
from typing import Any

import torch
from torch._subclasses import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.predict.trace import Block, Mark, Trace
from harness.predict.tracing.kernel_scratch import scratch_of
from harness.predict.tracing.untraceable import UntraceableTrainingError, without_gpu

_aten = torch.ops.aten
# What keeps numbers that are logged.
_LOGGING = (
    "lightning.",
    "lightning_utilities.",
    "lightning_fabric.",
    "pytorch_lightning.",
    "torchmetrics.",
)
# What reads a number out of a tensor, which a fake one does not have.
_READS = (_aten._local_scalar_dense.default,)  # noqa: SLF001 - an operator's name
# Each thread's first of these takes a workspace for cuBLAS, for good: the main thread, and
# autograd's.
_MATMULS = {
    _aten.mm,
    _aten.addmm,
    _aten.bmm,
    _aten.baddbmm,
    _aten.addmv,
    _aten.mv,
    _aten.dot,
    _aten.addbmm,
}
# What checks that all is well ends with one of these: `isfinite` with a product, others with `all`.
_CONJUNCTIONS = {_aten.all, _aten.mul, _aten.logical_and, _aten.bitwise_and}
# An attribute of a tensor that is such a check.
_ANSWER = "_harness_answer"
# Tensors made of Python's numbers: on the CPU, in the program that runs on a GPU, too.
_LITERALS = (_aten.lift_fresh.default, _aten.lift_fresh_copy.default)


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch leaves its hook untyped
    """Collects a trace; enter it inside of a FakeTensorMode."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # likewise
        self.blocks: list[Block] = []
        self.events: list[int] = []
        self.marks: list[Mark] = []
        self.notes: dict[str, None] = {}
        self.kind = "activation"
        self.module = ""
        self.thread = "main"
        """The thread of these operators on the GPU: `main`, or `autograd` in a backward pass."""
        self.skipped: tuple[Any, ...] = _LITERALS
        self._with_workspace: set[str] = set()
        # Storages that are live, by address: the block, and what tells of their end.
        self._live: dict[int, tuple[int, int, weakref.finalize[Any, Any]]] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operator on fake tensors, and record the storages of its results that are new."""
        del types
        if func in _READS and isinstance(args[0], FakeTensor):
            return self._number(args[0])
        if func.overloadpacket in _MATMULS and self.thread not in self._with_workspace:
            self._with_workspace.add(self.thread)
            self._add(Block(0, "workspace", "cuBLAS"))
        name, scratch = scratch_of(func, args)
        block = self._add(Block(scratch, "scratch", name)) if scratch else None
        result = func(*args, **(kwargs or {}))
        if block is not None:
            self.events.append(~block)
        if func.overloadpacket in _CONJUNCTIONS and result.dtype is torch.bool:
            setattr(result, _ANSWER, True)
        if func not in self.skipped:
            for leaf in tree_leaves(result):
                if isinstance(leaf, torch.Tensor):
                    if leaf.is_cuda:  # a fake one: its backward pass would end the process
                        raise UntraceableTrainingError(without_gpu(_reader() or "training"))
                    self.register(leaf)
        return result

    def register(self, tensor: torch.Tensor, kind: str | None = None) -> None:
        """Record the storage of a tensor, if it is new or has another size than before."""
        if tensor.layout is not torch.strided:
            return
        storage = tensor.untyped_storage()
        key, num_bytes = storage._cdata, storage.nbytes()  # noqa: SLF001 - no public identity
        known = self._live.get(key)
        if known is not None:
            if known[1] == num_bytes:
                return
            known[2].detach()
            self._free(key)
        block = self._add(Block(num_bytes, kind or self.kind, self.module))
        self._live[key] = (block, num_bytes, weakref.finalize(storage, self._free, key))

    def relabel(self, tensor: torch.Tensor, kind: str) -> None:
        """Set the kind of a recorded tensor, once it is known."""
        if tensor.layout is not torch.strided:
            return
        known = self._live.get(tensor.untyped_storage()._cdata)  # noqa: SLF001 - as above
        if known is not None:
            self.blocks[known[0]] = self.blocks[known[0]]._replace(kind=kind, module="")

    def held(self) -> Counter[str]:
        """Return the bytes that activations hold now, by module."""
        held: Counter[str] = Counter()
        for number, num_bytes, _ in self._live.values():
            block = self.blocks[number]
            if block.kind == "activation":
                held[block.module] += num_bytes
        return held

    def mark(self, phase: str) -> None:
        """Begin a phase."""
        self.marks.append(Mark(len(self.events), phase))

    def trace(self, batch_size: int) -> Trace:
        """Return what was recorded."""
        return Trace(
            batch_size, tuple(self.blocks), tuple(self.events), tuple(self.marks), tuple(self.notes)
        )

    def close(self) -> None:
        """Record no more: what is freed from now on is freed by the end of the trace."""
        for _, _, end in self._live.values():
            end.detach()
        self._live.clear()

    def _add(self, block: Block) -> int:
        self.blocks.append(block)
        self.events.append(len(self.blocks) - 1)
        return self.events[-1]

    def _free(self, key: int) -> None:
        known = self._live.pop(key, None)
        if known is not None:
            self.events.append(~known[0])

    def _number(self, tensor: torch.Tensor) -> Any:
        """Return a value for a tensor that has none: 1.0 for numbers, False for conditions.

        Checks that all is finite give True. Integers are refused, because sizes and indices are
        made of them.
        """
        constant = getattr(tensor, "constant", None)
        if constant is not None:
            return constant.item()
        where = _reader()
        if tensor.dtype is torch.bool:
            answer = getattr(tensor, _ANSWER, False)
            if where is not None:
                self.notes.setdefault(
                    f"{where} branches on a tensor's value; the trace assumed {answer}"
                )
            return answer
        if tensor.dtype.is_floating_point:
            if where is not None:
                self.notes.setdefault(
                    f"{where} reads a number from a tensor; the trace assumed 1.0"
                )
            return 1.0
        raise UntraceableTrainingError(
            f"{where or 'training'} reads a whole number from a tensor (`.item()`, `int()`, "
            "`nonzero`, a mask as an index): what follows depends on the data"
        )


def _reader() -> str | None:
    """Return the file and line that reads a number; None for logs and torch's optimizers."""
    frame = inspect.currentframe()
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.startswith(("torch.optim", *_LOGGING)):
            return None
        if name != __name__ and not name.startswith("torch."):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def label_modules(root: torch.nn.Module, recorder: Recorder) -> None:
    """Make the recorder follow the module whose forward pass runs."""
    stack: list[str] = []
    for name, module in root.named_modules():
        if module is root:  # what it makes itself is the step's
            continue

        def enter(_module: Any, _inputs: Any, name: str = name) -> None:
            stack.append(recorder.module)
            recorder.module = name

        def leave(_module: Any, _inputs: Any, _outputs: Any) -> None:
            recorder.module = stack.pop() if stack else ""

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave, always_call=True)
