"""Bounds a probe on a CUDA GPU by torch's own limit per process, and reads torch's allocator.

The limit is `target_memory_fraction` of the budget, or of cudaMemGetInfo's total where that is
smaller. torch enforces it on *reserved* bytes, so the batch does not depend on the size of the CUDA
context.
"""

from __future__ import annotations

import json
import math
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import MachineError
from harness.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from harness.protocol.case import RankPlace
    from harness.protocol.messages import MemoryFacts

# A recorded history holds this many allocations and frees at most: some steps of a large model.
_HISTORY = 200_000
# Without stacks it may be longer. A network has some thousand per step and accumulated batch.
_LONG_HISTORY = 500_000
# Outside of torch's allocator a probe's own libraries take less than this.
_LIBRARIES_BYTES = 1 << 30


def fraction_for(limit_bytes: int, total_bytes: int) -> float:
    """Return the fraction that torch turns into a limit, to the byte; 1.0 for more than all.

    torch cuts the product of fraction and total off (c10/cuda/CUDACachingAllocator.cpp,
    setMemoryFraction), which may lose a byte of the limit. Torch's segments are multiples of 2 MiB:
    where the limit is one, that byte would cost a whole segment.
    """
    fraction = min(1.0, limit_bytes / total_bytes)
    exact = int(fraction * total_bytes) >= min(limit_bytes, total_bytes)
    return fraction if exact else math.nextafter(fraction, 1.0)


class CudaBound:
    """Bounds the memory of this process on its first CUDA device, or on the one of its rank."""

    def __init__(
        self,
        budget_bytes: int | None,
        fraction: float,
        place: RankPlace | None = None,
        *,
        claim_bytes: int | None = None,
    ) -> None:
        self.place = place
        self.index = 0 if place is None else place["rank"]
        num_ranks = 1 if place is None else place["num_ranks"]
        num_local = num_ranks if place is None else place.get("num_local", num_ranks)
        arguments: dict[str, Any] = {"accelerator": "cuda", "devices": num_local}
        if num_ranks > num_local:
            arguments["num_nodes"] = num_ranks // num_local
        self.trainer_arguments: Mapping[str, Any] = arguments
        self.budget_bytes = budget_bytes
        self.fraction = fraction
        self._claim_bytes = claim_bytes
        self.limit_bytes = 0
        self._total = 0
        self._outside = 0
        self._allowed = 0
        self._warm_retries = 0
        self._warm_events = 0

    def start(self) -> None:
        """Start CUDA and set the limit, before anything is allocated.

        Raises MachineError when other processes leave less than the limit, and when CUDA cannot be
        started.
        """
        import torch  # noqa: PLC0415 - pytest's process imports this module, and never torch

        if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call] # untyped in torch
            raise MachineError(
                f"torch {torch.__version__} is built without CUDA: install one of the builds that "
                "https://pytorch.org/get-started/locally names for this GPU"
            )
        try:
            if self.place is not None:  # as `torchrun` asks of a program: one GPU for each rank
                torch.cuda.set_device(self.index)
            free, total = torch.cuda.mem_get_info(self.index)
        except RuntimeError as error:
            raise MachineError(
                f"CUDA cannot be started: {error}. Run "
                "`python -c 'import torch; torch.cuda.init()'` and mend what it reports"
            ) from error
        self.limit_bytes = int(self.fraction * min(self.budget_bytes or total, total))
        wanted = self._claimed(self.limit_bytes)
        if free < wanted:
            raise MachineError(
                f"{format_bytes(free)} of the GPU's {format_bytes(total)} are free, and a probe "
                f"may use {format_bytes(wanted)}: end what else runs there (see "
                "nvidia-smi), or lower search.target_memory_fraction"
            )
        self._total, self._outside = total, total - free
        if self.place is not None:
            # On the CPU each module counts in the memory, so other probes do not import it.
            from harness.memory_bounds.gpu_numbers import show_by_number  # noqa: PLC0415

            show_by_number()
        self.rescale(1.0)
        torch.cuda.reset_peak_memory_stats(self.index)

    def engage(self, module: Any) -> None:
        """Do nothing: `start` has set the limit."""

    def engage_before_wrapping(self, trainer: Any) -> None:
        """Do nothing, likewise."""

    def uncounted(self) -> AbstractContextManager[None]:
        """Return an empty block: the host's memory has no limit here."""
        return nullcontext()

    def rescale(self, share: float) -> None:
        """Allow `share` times the limit, and at most all of the GPU's memory."""
        import torch  # noqa: PLC0415

        self._allowed = max(self._allowed, int(share * self.limit_bytes))
        fraction = fraction_for(self._claimed(int(share * self.limit_bytes)), self._total)
        torch.cuda.set_per_process_memory_fraction(fraction, self.index)

    def peak_bytes(self) -> int:
        """Return the allocator's peak of reserved bytes: the limit is on those."""
        import torch  # noqa: PLC0415

        return int(torch.cuda.max_memory_reserved(self.index)) if self._total else 0

    def excess(self) -> str | None:
        """Return in words that more was reserved than the limit allows: the workload raised it."""
        import torch  # noqa: PLC0415

        # CUDA's own pools grow by whole blocks, and torch limits what it has asked them for.
        asynchronous = torch.cuda.get_allocator_backend() == "cudaMallocAsync"
        peak = (
            int(torch.cuda.max_memory_allocated(self.index)) if asynchronous else self.peak_bytes()
        )
        if not self._total or peak <= self._allowed:
            return None
        return (
            f"torch reserved {format_bytes(peak)} of {format_bytes(self.limit_bytes)}: the training "
            "sets a limit of its own, with torch.cuda.set_per_process_memory_fraction"
        )

    def held_bytes(self) -> int:
        """Return what tensors hold now; reserved bytes have holes."""
        import torch  # noqa: PLC0415

        return int(torch.cuda.memory_allocated(self.index)) if self._total else 0

    def begin_validation(self) -> None:
        """Count the peak anew: the allocator can use again what training has reserved."""
        import torch  # noqa: PLC0415

        torch.cuda.reset_peak_memory_stats(self.index)

    def validation_peak_bytes(self) -> int:
        """Return the peak of allocated bytes since validation began.

        Reserved bytes would not show it, because those of training are still reserved.
        """
        import torch  # noqa: PLC0415

        return int(torch.cuda.max_memory_allocated(self.index)) if self._total else 0

    def warmed_up(self) -> None:
        """Ignore the allocator's retries so far: its cache fills in the first step."""
        self._warm_retries = self._num_retries()
        self._warm_events = self._statistic("allocation.all.allocated") + self._statistic(
            "allocation.all.freed"
        )

    def facts(self) -> MemoryFacts:
        """Return figures beyond the peak, by the names of a `Probe`'s fields."""
        import torch  # noqa: PLC0415

        if not self._total:
            return {}
        facts: MemoryFacts = {
            "peak_allocated_bytes": int(torch.cuda.max_memory_allocated(self.index)),
            "alloc_retries": self._num_retries() - self._warm_retries,
        }
        with suppress(RuntimeError):  # CUDA may have failed for good
            free, total = torch.cuda.mem_get_info(self.index)
            facts["non_torch_bytes"] = total - free - int(torch.cuda.memory_reserved(self.index))
        return facts

    def record(self, *, stacks: bool) -> None:
        """Make the allocator keep a history of its allocations and frees."""
        import torch  # noqa: PLC0415

        torch.cuda.memory._record_memory_history(  # noqa: SLF001 - documented
            context="all" if stacks else None,
            max_entries=_HISTORY if stacks else _LONG_HISTORY,
        )

    def write_history(self, path: str) -> None:
        """Write the history as the fields of a `harness.allocator.history.BlockHistory`."""
        import torch  # noqa: PLC0415

        traces = torch.cuda.memory._snapshot()["device_traces"]  # noqa: SLF001 - documented
        entries = traces[self.index]
        if len(entries) < _LONG_HISTORY:
            sizes, events = blocks(entries)
            history = {"sizes": sizes, "events": events, "first_step": self._warm_events}
            Path(path).write_text(json.dumps(history), encoding="utf-8")

    def dump(self, path: str) -> None:
        """Write the allocator's state and history, for https://pytorch.org/memory_viz."""
        import torch  # noqa: PLC0415

        memory = torch.cuda.memory
        memory._dump_snapshot(path)  # type: ignore[no-untyped-call]  # noqa: SLF001 - documented
        memory._record_memory_history(enabled=None)  # noqa: SLF001 - documented

    def crowded_out(self, free_bytes: int | None, reserved_bytes: int) -> str | None:
        """Return in words that others took memory of the limit; None where nothing shows it.

        Others may have left before the probe's end is seen, and then only the probe knows of them.
        """
        if free_bytes is None or free_bytes >= self.limit_bytes - reserved_bytes:
            return None
        grown = self._total - free_bytes - reserved_bytes - self._outside
        if grown < _LIBRARIES_BYTES:
            return None
        return (
            f"others took {format_bytes(grown)} of the GPU's memory while this probe ran, and left "
            "less than its limit: end what else runs there (see nvidia-smi), and run again"
        )

    def _claimed(self, limit_bytes: int) -> int:
        """Return the part of a limit that is this process's, beside others on the GPU."""
        return limit_bytes if self._claim_bytes is None else min(limit_bytes, self._claim_bytes)

    def lift(self) -> None:
        """Allow all of the GPU's memory, or all that is claimed beside others."""
        import torch  # noqa: PLC0415

        if self._total:
            with suppress(RuntimeError):
                torch.cuda.set_per_process_memory_fraction(
                    fraction_for(self._claimed(self._total), self._total), self.index
                )

    def _num_retries(self) -> int:
        # A retry is an allocation that torch repeats after it has emptied its cache.
        return self._statistic("num_alloc_retries")

    def _statistic(self, name: str) -> int:
        import torch  # noqa: PLC0415

        # The key is absent before the allocator's first use.
        return int(torch.cuda.memory_stats(self.index).get(name, 0)) if self._total else 0


def blocks(entries: Sequence[Mapping[str, Any]]) -> tuple[list[int], list[int]]:
    """Return the bytes of a history's blocks, and its events: i allocates block i, ~i frees it."""
    sizes: list[int] = []
    events: list[int] = []
    live: dict[int, int] = {}
    for entry in entries:
        if entry["action"] == "alloc":
            live[entry["addr"]] = len(sizes)
            events.append(len(sizes))
            sizes.append(entry["size"])
        elif entry["action"] == "free_completed" and entry["addr"] in live:
            events.append(~live.pop(entry["addr"]))
    return sizes, events
