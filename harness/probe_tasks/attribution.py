"""Follows a training: for whom the allocator works at each of its events.

The allocator numbers its allocations and frees. Hooks note at which number another module, another
phase or another operator of the backward pass begins. They hold no tensor and change none, so the
training takes the same memory with them, to the byte.

An operator of the backward pass is known by its node in autograd's graph. While anomaly detection
is on, torch asks for a stack whenever it makes a node: here it gets the module and the user's line
that are running then. Before a backward pass each node gets a hook that says when its turn comes.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.fx import traceback as fx_traceback

from harness.held_memory.memory_history import Label, Mark, PhaseMark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from harness.held_memory.user_code import UserCode

TRAINING_STEP, VALIDATION_STEP = "the training step", "the validation step"
ACTIVATION, ACTIVATION_GRADIENT = "activation", "activation gradient"
_ORIGIN = "traceback_"  # where torch keeps the stack in a node's metadata
_HOOKED = "harness"
_LEAF = "torch::autograd::AccumulateGrad"
# Their forward pass for evaluation takes other operators where a hook is on them.
_SENSITIVE = torch.nn.TransformerEncoderLayer


class Running(NamedTuple):
    """What runs now, and so what new memory is for."""

    kind: str
    module: str
    line: str = ""
    """The user's line; empty where the allocator's own stack has it."""


class Origin(list[str]):
    """The module and the user's line in which a node of autograd's graph was made."""


class Attribution:
    """Notes who runs at each event of the allocator.

    Args:
        user_code: finds the user's lines.
        clock: returns the number of the event that comes next, or what stands for it.
        device: the kind of device whose tensors count, `cuda` or `cpu`.
        stacks: whether the allocator's history has a stack for each event.

    """

    def __init__(
        self, user_code: UserCode, clock: Callable[[], int], device: str, *, stacks: bool
    ) -> None:
        self.marks: list[Mark] = []
        self.labels: list[Label] = []
        self.phases: list[PhaseMark] = []
        self.clock = clock
        self._device = device
        self._stacks = stacks
        self._user_code = user_code
        self._stack: list[Running] = []
        self._sensitive: list[Any] = []
        self._now = Running(ACTIVATION, "")
        self.begin_phase("model")

    def begin(self, running: Running) -> None:
        """Count what is allocated from now on for `running`."""
        self._now = running
        self.marks.append(Mark(self.clock(), *running))

    def begin_phase(self, phase: str) -> str:
        """Begin a phase; return the one that it ends."""
        ended = self.phases[-1].phase if self.phases else ""
        self.phases.append(PhaseMark(self.clock(), phase))
        return ended

    @contextmanager
    def running(self, running: Running) -> Iterator[None]:
        """Count what is allocated in the block for `running`."""
        before = self._now
        self.begin(running)
        try:
            yield
        finally:
            self.begin(before)

    def label(self, tensors: Iterable[Any], kind: str) -> None:
        """Note that the blocks of tensors are of a kind, whoever made them."""
        clock = self.clock()
        for tensor in tensors:
            # Some subclasses of tensors have no storage of their own, some layouts have several.
            with suppress(RuntimeError, NotImplementedError):
                if tensor is not None and tensor.device.type == self._device:
                    self.labels.append(Label(clock, tensor.untyped_storage().data_ptr(), kind))

    def follow_modules(self, root: torch.nn.Module) -> None:
        """Note when the forward pass of a module within `root` begins and ends."""
        sensitive = tuple(
            name for name, module in root.named_modules() if isinstance(module, _SENSITIVE)
        )
        for name, module in root.named_modules():
            if module is root or isinstance(module, torch.jit.ScriptModule):
                continue
            handles = self._follow(module, _shown_name(name))
            if name.startswith(sensitive):
                self._sensitive += handles

    def _follow(self, module: torch.nn.Module, name: str) -> list[Any]:
        def enter(_module: Any, _inputs: Any) -> None:
            if torch.compiler.is_compiling():
                return
            self._stack.append(self._now)
            kind = self._now.kind if self._now.kind == "input" else ACTIVATION
            self.begin(Running(kind, name))

        def leave(_module: Any, _inputs: Any, _outputs: Any) -> None:
            if torch.compiler.is_compiling():
                return
            if self._stack:
                self.begin(self._stack.pop())

        # Of a module that has compiled itself the hooks are compiled, too, to nothing.
        if module._compiled_call_impl is not None:  # noqa: SLF001 - no public way to know
            self._follow_compiled(module, name)
        return [
            # Before the user's own hooks, and after them: what they allocate is the module's.
            module.register_forward_pre_hook(enter, prepend=True),
            # Also after an exception: activation checkpointing leaves a module by one.
            module.register_forward_hook(leave, always_call=True),
        ]

    def _follow_compiled(self, module: Any, name: str) -> None:
        compiled = module._compiled_call_impl  # noqa: SLF001 - as above

        @wraps(compiled)
        def call(*inputs: Any, **named: Any) -> Any:
            if torch.compiler.is_compiling():
                return compiled(*inputs, **named)
            with self.running(Running(ACTIVATION, name)):
                return compiled(*inputs, **named)

        module._compiled_call_impl = call  # noqa: SLF001 - as above

    def begin_evaluation(self) -> None:
        """Take the hooks away where they would change what an evaluation allocates."""
        for handle in self._sensitive:
            handle.remove()
        self._sensitive.clear()

    def follow_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Note each gradient of a parameter when it is there; it may be gone before the step."""
        for parameter in parameters:
            if parameter.requires_grad and parameter.is_leaf:
                parameter.register_post_accumulate_grad_hook(self._note_gradient)  # type: ignore[no-untyped-call] # torch leaves it untyped

    def _note_gradient(self, parameter: torch.Tensor) -> None:
        self.label([parameter.grad], "gradient")

    @contextmanager
    def following_backward(self, around: Callable[[], Any]) -> Iterator[None]:
        """Note within the block for which module and line an operator of a backward pass runs.

        around: makes a context manager around each backward pass that is within no other.
        """
        graph: Any = torch.autograd.graph
        # All backward passes go through it.
        run, format_stack = graph._engine_run_backward, fx_traceback.format_stack  # noqa: SLF001
        depth = 0

        @wraps(run)
        def run_backward(outputs: Any, *arguments: Any, **more: Any) -> Any:
            nonlocal depth
            self._hook_nodes(outputs)
            before, depth = self._now, depth + 1
            try:
                if depth > 1:
                    return run(outputs, *arguments, **more)
                with around():
                    return run(outputs, *arguments, **more)
            finally:
                depth -= 1
                self.begin(before)

        def origin() -> list[str]:
            if fx_traceback.has_preserved_node_meta():  # torch.compile traces, and needs its own
                return format_stack()
            # No user's line runs where a backward pass makes nodes, to be differentiated again.
            line = self._user_code.current_line() or self._now.line
            if not self._stacks and line != self._now.line:
                # A node is made before its operator allocates anything.
                self.begin(self._now._replace(line=line))
            return Origin([self._now.module, line])

        anomaly = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
        self._patch(run_backward, origin)
        torch.autograd.set_detect_anomaly(True, check_nan=all(anomaly))
        try:
            yield
        finally:
            torch.autograd.set_detect_anomaly(*anomaly)
            self._patch(run, format_stack)

    @staticmethod
    def _patch(run_backward: Any, format_stack: Any) -> None:
        places: tuple[Any, ...] = (torch.autograd, torch.autograd.graph)
        for place in places:
            place._engine_run_backward = run_backward  # noqa: SLF001 - as above
        fx_traceback.format_stack = format_stack

    def _hook_nodes(self, outputs: Iterable[Any]) -> None:
        """Let each operator of a backward pass say when its turn comes."""
        ready = [
            output.grad_fn if isinstance(output, torch.Tensor) else output.node
            for output in outputs
        ]
        seen = set()
        while ready:
            node = ready.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            ready += [following for following, _ in node.next_functions]
            if node.name() == _LEAF:
                continue
            metadata: Any = node.metadata
            origin = metadata.get(_ORIGIN)
            if isinstance(origin, Origin) and _HOOKED not in metadata:
                metadata[_HOOKED] = True
                node.register_prehook(partial(self._begin_node, *origin))

    def _begin_node(self, module: str, line: str, _gradients: Any) -> None:
        self.begin(Running(ACTIVATION_GRADIENT, module, line))


def _shown_name(name: str) -> str:
    """Return a module's name as the user knows it: torch.compile wraps modules."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")
