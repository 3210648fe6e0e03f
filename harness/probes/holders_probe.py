"""Asks for the probe that writes what holds the memory of a training at its peak."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Required, TypedDict, Unpack

from harness.errors import WorkloadError
from harness.measurement import Probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.probes.answers import Answer
    from harness.protocol.messages import Failure, HoldersResult, HoldersTask, SmallerBatch

    Ask = Callable[..., Answer[Any]]
    """`ProbeRunner.ask`."""


class HoldersOptions(TypedDict, total=False):
    """Keywords of `holders`, as `ProbeRunner.holders` passes them on."""

    file: Required[Path]
    """For a `harness.predict.holders.PeakHolders`."""
    validation_steps: int
    """Validation batches after the steps."""
    snapshot: Path | None
    """For torch's snapshot with stacks, which https://pytorch.org/memory_viz shows."""
    smaller: SmallerBatch | None
    """A second batch size with a file of its own, which is left out where it does not train."""


def holders(
    ask: Ask,
    batch_size: int,
    *,
    steps: int,
    micro_batches: int | None,
    **options: Unpack[HoldersOptions],
) -> Probe:
    """Train one batch size without a limit, and write what holds the memory at the peak.

    steps: effective optimizer steps.
    micro_batches: those of a step, as in a `TrainTask`.

    Raises WorkloadError when this batch size does not train, MachineError when the machine is
    at fault.
    """
    file, snapshot = options["file"], options.get("snapshot")
    task: HoldersTask = {
        "task": "holders",
        "batch_size": batch_size,
        "steps": steps,
        "validation_steps": options.get("validation_steps", 0),
        "file": str(file.absolute()),
        "snapshot": None if snapshot is None else str(snapshot.absolute()),
        "micro_batches": micro_batches,
    }
    smaller = options.get("smaller")
    if smaller is not None:
        task["smaller"] = {**smaller, "file": str(Path(smaller["file"]).absolute())}
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
