"""Asks for the probe that writes what holds the memory of a training at its peak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import WorkloadError
from harness.measurement import Probe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.probes.answers import Answer
    from harness.protocol.messages import Failure, HoldersResult, HoldersTask

    Ask = Callable[..., Answer[Any]]
    """`ProbeRunner.ask`."""


def holders(
    ask: Ask,
    batch_size: int,
    *,
    steps: int,
    validation_steps: int,
    file: Path,
    snapshot: Path | None,
    micro_batches: int | None,
) -> Probe:
    """Train one batch size without a limit, and write what holds the memory at the peak.

    steps: effective optimizer steps.
    validation_steps: validation batches after these steps.
    file: for a `harness.predict.holders.PeakHolders`.
    snapshot: for torch's snapshot with stacks, which https://pytorch.org/memory_viz shows.
    micro_batches: those of a step, as in a `TrainTask`.

    Raises WorkloadError when this batch size does not train, MachineError when the machine is
    at fault.
    """
    task: HoldersTask = {
        "task": "holders",
        "batch_size": batch_size,
        "steps": steps,
        "validation_steps": validation_steps,
        "file": str(file.absolute()),
        "snapshot": None if snapshot is None else str(snapshot.absolute()),
        "micro_batches": micro_batches,
    }
    what = f"recording what holds the memory of batch {batch_size}"
    answer: Answer[HoldersResult | Failure] = ask(task, what, f"holders-b{batch_size}")
    if answer.death is not None:
        raise WorkloadError(
            f"{what} {answer.death['detail']}; its output is in {answer.log}", log=answer.log
        )
    result = answer.result
    assert result is not None, "a probe answers or dies"
    if result["outcome"] != "fits":
        where = f" in {answer.phase}" if answer.phase else ""
        raise WorkloadError(
            f"{what} failed{where}: {result['detail']}",
            result["traceback"] or "",
            log=answer.log,
        )
    return Probe(
        batch_size=batch_size,
        outcome="fits",
        peak_memory_bytes=result["peak_memory_bytes"],
        seconds=answer.seconds,
        peak_allocated_bytes=result.get("peak_allocated_bytes"),
        non_torch_bytes=result.get("non_torch_bytes"),
        log=answer.log,
    )
