"""Records what torch allocates on the CPU, as torch's own profiler sees it, without a limit.

The profiler reports each allocation and each free of torch's allocator with its address and its
size. What libraries take past that allocator is not among them, nor is what the process loses
between the blocks; of it the kernels that are compiled while the training runs are counted apart.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch._C._profiler import _EventType, _RecordFunctionFast
from torch.utils._pytree import tree_leaves
from torch.utils.data import dataloader

from harness.errors import HarnessError
from harness.held_memory.memory_history import History
from harness.held_memory.user_code import UserCode
from harness.memory_bounds import HostBound
from harness.probe_tasks.attribution import ACTIVATION, ACTIVATION_GRADIENT, Attribution, Running
from harness.probe_tasks.recordings.compiled import compiled_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from harness.protocol.case import RankPlace

# The profiler gets an event of this name and a number for each call of the clock.
_MARK = "gpu-profile:"
_UNCOUNTED = "uncounted"
# The names of operators begin with their library's.
_OPERATORS = ("aten::", "mkldnn::", "onednn::")
# An event takes about 1 KB of the host, in torch and again in Python.
_MAX_EVENTS = 2_000_000


class HostHistoryError(HarnessError):
    """The profiler has not seen all of this training."""


class HostNoLimit(HostBound):
    """Begins the recording where a probe's limit begins, and limits nothing."""

    def __init__(self, recording: HostRecording, place: RankPlace | None = None) -> None:
        super().__init__(0)
        self._recording = recording
        self._has_begun = False
        if place is not None:
            self.place = place
            self.trainer_arguments = {"accelerator": "cpu", "devices": place["num_ranks"]}

    def engage_before_wrapping(self, trainer: Any) -> None:
        """Begin the recording where the strategy of ranks is about to wrap the module."""
        if self.place is None:
            return
        set_up = trainer.strategy.setup

        @wraps(set_up)
        def recorded(*values: Any, **named: Any) -> Any:
            self.engage(trainer.lightning_module)
            self._has_begun = True
            return set_up(*values, **named)

        trainer.strategy.setup = recorded

    def engage(self, module: Any) -> None:
        """Begin the recording, anew if it has begun before with a training's own loop."""
        if self._has_begun:
            return
        self._share = 1.0
        self._recording.begin([*module.parameters(), *module.buffers()])

    def rescale(self, share: float) -> None:
        """Do nothing: there is no limit."""

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Leave what the block allocates out of the recording."""
        with self._recording.uncounted():
            yield

    def lift(self) -> None:
        """Do nothing: there is no limit."""


class HostRecording:
    """The allocations of torch on the CPU, from where a probe's limit begins."""

    def __init__(self) -> None:
        self.user_code = UserCode()
        self.attribution = Attribution(self.user_code, lambda: 0, "cpu", stacks=False)
        self._profile: Any = None
        self._before: dict[int, int] = {}
        self._marks = 0
        self._compiled = 0
        self._end: int | None = None
        self._counts = True

    def begin(self, tensors: Iterable[Any]) -> None:
        """Record from now on; what the case holds by now are these tensors."""
        self._close()
        held = [tensor for tensor in tensors if _is_here(tensor)]
        self._before = {
            tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
            for tensor in held
        }
        self._marks, self._end = 0, None
        self._compiled = compiled_bytes()
        # torch leaves it untyped
        self._profile = torch.autograd.profiler.profile(profile_memory=True, use_kineto=True)
        self._profile.__enter__()
        self.attribution = Attribution(self.user_code, self._clock, "cpu", stacks=False)
        # A loop of the user's has its first batch by now. Parameters get their label later.
        self.attribution.label(held, "input")

    def stop(self) -> None:
        """Count no further events."""
        if self._end is None:
            self._end = self._clock()

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Leave what the block allocates out."""
        counted, self._counts = self._counts, False
        try:
            with self.attribution.running(Running(_UNCOUNTED, "")):
                yield
        finally:
            self._counts = counted

    def moved(self, batch: Any) -> None:
        """Note the tensors of a batch, whoever made them."""
        self.attribution.label(filter(torch.is_tensor, tree_leaves(batch)), "input")

    @contextmanager
    def following_loaders(self) -> Iterator[None]:
        """Note within the block when a loader makes a batch."""
        loader: Any = dataloader._BaseDataLoaderIter  # noqa: SLF001 - all loaders are of it
        own = loader.__next__

        @wraps(own)
        def following(mine: Any) -> Any:
            if not self._counts:
                return own(mine)
            with self.attribution.running(Running("input", "")):
                return own(mine)

        loader.__next__ = following
        try:
            yield
        finally:
            loader.__next__ = own

    def summary(self) -> dict[str, Any]:
        """Return what held the memory, as plain data; it ends the recording.

        Raises HostHistoryError where the profiler has no complete history.
        """
        self.stop()
        attribution, end = self.attribution, self._end
        assert end is not None, "stopped above"
        if self._profile is None:
            raise HostHistoryError("the training has not begun")
        self._close()
        try:
            tree = self._profile.kineto_results.experimental_event_tree()
        except (AttributeError, RuntimeError) as error:
            raise HostHistoryError(
                f"torch's profiler has no history of this training: {error}; something else may "
                "profile it"
            ) from error
        told = read_events(tree)
        if len(told.at) < end + 1:
            raise HostHistoryError(
                "torch's profiler has not seen all of the training: something else profiles it"
            )
        at = told.at
        history = History(told.entries, self._before)
        history.attribute(
            [mark._replace(event=at[mark.event]) for mark in attribution.marks],
            [label._replace(event=at[label.event]) for label in attribution.labels],
            self.user_code,
        )
        _name_workspaces(history)
        for block in history.blocks:
            if block.kind == _UNCOUNTED:
                block.kind, block.num_bytes = "input", 0
        phases = [phase._replace(event=at[phase.event]) for phase in attribution.phases]
        found = history.summary(phases, at[end])
        # None is freed: by the peak, which is not in the first step, they are all there.
        compiled = compiled_bytes() - self._compiled
        if compiled > 0:
            found["holders"].append(["kernel", "", "", compiled])
            found["holders"].sort(key=lambda holder: -holder[-1])
            found["peak_bytes"] += compiled
        return found

    def _clock(self) -> int:
        """Return the number of a mark among the profiler's events."""
        self._marks += 1
        with _RecordFunctionFast(f"{_MARK}{self._marks}"):
            return self._marks

    def _close(self) -> None:
        if self._profile is not None and self._profile.kineto_results is None:
            with suppress(RuntimeError):  # something else has ended it
                self._profile.__exit__(None, None, None)


class Told(NamedTuple):
    """The events of a recording, as `History` takes them."""

    entries: list[dict[str, Any]]
    at: list[int]
    """The number of entries before each mark; the first one stands for the begin."""


def read_events(tree: Iterable[Any]) -> Told:
    """Read allocations, frees and marks from the profiler's events.

    tree: torch's `_ProfilerEvent`s. Raises HostHistoryError where there are too many.
    """
    found: list[tuple[int, int, str, int, int | None]] = []
    waiting: list[tuple[Any, int | None]] = [(event, None) for event in tree]
    waiting.reverse()
    number = 0
    while waiting:
        event, operator = waiting.pop()
        number += 1
        if number > _MAX_EVENTS:
            raise HostHistoryError(
                f"the training has more than {_MAX_EVENTS:,} operators in its steps: lower "
                "accumulate_grad_batches, which does not change what holds the memory"
            )
        if event.tag == _EventType.Allocation:
            fields = event.extra_fields
            if fields.device.type == "cpu" and fields.ptr:
                found.append((event.start_time_ns, fields.ptr, "", fields.alloc_size, operator))
        elif event.tag == _EventType.TorchOp and event.name.startswith(_MARK):
            found.append((event.start_time_ns, 0, event.name, 0, None))
        inside = number if event.name.startswith(_OPERATORS) else None
        waiting.extend((child, inside) for child in reversed(event.children))
    # The events of several threads; those of one thread stay in their order.
    found.sort(key=lambda one: one[0])
    told = Told([], [0])
    for _, address, name, size, operator in found:
        if name:
            mark = int(name.removeprefix(_MARK))
            told.at.extend([len(told.entries)] * (mark + 1 - len(told.at)))
        else:
            action = "alloc" if size > 0 else "free_requested"
            told.entries.append(
                {"action": action, "addr": address, "size": size, "operator": operator}
            )
    return told


def _name_workspaces(history: History) -> None:
    """Let be a workspace what an operator allocates and frees before it returns."""
    made: dict[int, int | None] = {}
    for entry, event in zip(history.entries, history.events, strict=True):
        if event >= 0:
            made[event] = entry["operator"]
        elif entry["operator"] is not None and made.get(~event) == entry["operator"]:
            block = history.blocks[~event]
            if block.kind in (ACTIVATION, ACTIVATION_GRADIENT):
                block.kind = "workspace"


def _is_here(tensor: Any) -> bool:
    """Return whether a tensor has memory of its own on the CPU."""
    try:
        return tensor.device.type == "cpu" and bool(tensor.untyped_storage().data_ptr())
    except (RuntimeError, NotImplementedError):  # sparse, fake or lazy
        return False
