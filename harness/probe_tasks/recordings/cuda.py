"""Records the history that torch's CUDA allocator keeps, without a limit on the memory."""

from __future__ import annotations

import pickle
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from harness.errors import HarnessError
from harness.held_memory.memory_history import History, active_blocks
from harness.held_memory.user_code import UserCode
from harness.memory_bounds import CudaBound
from harness.probe_tasks.attribution import Attribution
from harness.units import format_bytes

if TYPE_CHECKING:
    from harness.protocol.case import RankPlace

# With its stack an entry takes 2 KB of the host, in torch and again in Python.
_MAX_ENTRIES = 500_000


class NoHistoryError(HarnessError):
    """The allocator keeps no history of this training."""


class NoLimit(CudaBound):
    """Starts CUDA as a probe does, and limits nothing: what holds the memory need not fit."""

    def __init__(self, place: RankPlace | None) -> None:
        super().__init__(None, 0.0, place)

    def rescale(self, share: float) -> None:
        """Allow all of the GPU's memory."""
        del share
        self.lift()


class CudaRecording:
    """The history that torch's allocator keeps from now on."""

    def __init__(self, *, whole: bool) -> None:
        backend = torch.cuda.get_allocator_backend()
        if backend != "native":
            raise NoHistoryError(
                f"the allocator {backend} keeps no history, so nobody knows what holds the memory: "
                "take `backend` out of PYTORCH_CUDA_ALLOC_CONF"
            )
        self._device = torch.cuda.current_device()
        self._before = active_blocks(torch.cuda.memory._snapshot()["segments"])  # noqa: SLF001 - documented
        torch.cuda.memory._record_memory_history(  # noqa: SLF001 - documented
            context="all" if whole else "alloc", stacks="python", max_entries=_MAX_ENTRIES
        )
        self.user_code = UserCode()
        self._start = 0
        self._start = self._clock()
        self.attribution = Attribution(self.user_code, self._clock, "cuda", stacks=True)
        self.end: int | None = None
        """The number of events that are the training's; None while it runs."""
        self._given_back = 0

    def _clock(self) -> int:
        """Return the number of allocations and frees so far."""
        # Of the public way it is the first part, which takes 10 microseconds.
        counts = torch._C._cuda_memoryStats(self._device).get("allocation")  # noqa: SLF001
        if counts is None:  # nothing was ever allocated
            return 0
        total = counts["all"]
        return int(total["allocated"] + total["freed"]) - self._start

    def stop(self) -> None:
        """Count no further events, and make cuBLAS give back its workspaces: so they are known."""
        if self.end is None:
            self.end = self._given_back = self.attribution.clock()
            with suppress(RuntimeError):  # CUDA may have failed for good
                torch._C._cuda_clearCublasWorkspaces()  # noqa: SLF001 - no public way
                self._given_back = self.attribution.clock()

    def dump(self, path: str) -> None:
        """Write torch's snapshot, for https://pytorch.org/memory_viz."""
        with Path(path).open("wb") as stream:
            pickle.dump(torch.cuda.memory._snapshot(), stream)  # noqa: SLF001 - documented

    def summary(self) -> dict[str, Any]:
        """Return what held the memory, as plain data; it ends the history."""
        self.stop()
        attribution, end = self.attribution, self.end
        peak = torch.cuda.memory_stats(self._device)["requested_bytes.all.peak"]
        traces = torch.cuda.memory._snapshot()["device_traces"]  # noqa: SLF001 - documented
        entries = traces[self._device]
        torch.cuda.memory._record_memory_history(enabled=None)  # noqa: SLF001 - documented
        if len(entries) >= _MAX_ENTRIES:
            raise NoHistoryError(
                f"the training allocates and frees more than {_MAX_ENTRIES // 3} times in its "
                "steps, and the allocator's history ends there: lower accumulate_grad_batches, "
                "which does not change what holds the memory"
            )
        history = History(entries, self._before)
        history.attribute(attribution.marks, attribution.labels, self.user_code)
        assert end is not None, "stopped above"
        history.name_freed(end, self._given_back, "workspace", "cuBLAS")
        found = history.summary(attribution.phases, end)
        if found["peak_bytes"] < peak:
            raise NoHistoryError(
                f"the allocator's history explains {format_bytes(found['peak_bytes'])} of a peak of "
                f"{format_bytes(peak)}: something else began the history anew, such as a call of "
                "torch.cuda.memory._record_memory_history in the training"
            )
        return found
