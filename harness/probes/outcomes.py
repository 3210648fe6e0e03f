"""Describes the outcomes of probes, in one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.measurement import Growth, Probe


def describe_probe(probe: Probe, limit_bytes: int | None) -> str:
    """Return one line about a probe: `batch 71 fits, peak 254.9 MiB of 256.0 MiB, 6.0 s`."""
    peak = ""
    if probe.outcome == "fits" and probe.peak_memory_bytes is not None:
        peak = f", peak {format_bytes(probe.peak_memory_bytes)}"
        peak += "" if limit_bytes is None else f" of {format_bytes(limit_bytes)}"
    return f"{describe_outcome(probe)}{peak}, {probe.seconds:.1f} s"


def describe_outcome(probe: Probe) -> str:
    """Return the batch size of a probe and its outcome: `batch 72 out of memory in backward`."""
    batch = f"{'validation batch' if probe.kind == 'validation' else 'batch'} {probe.batch_size}"
    where = f" in {probe.phase}" if probe.phase else ""
    if probe.outcome == "fits":
        retries = f", thrashing ({probe.alloc_retries} retries)" if probe.alloc_retries else ""
        return f"{batch} fits{retries}"
    if probe.outcome == "oom":
        # Without a phase it has trained, and its detail tells why that is not enough.
        why = where if probe.phase or not probe.detail else f": {probe.detail}"
        kept = (
            "" if probe.growth is None or not probe.phase else f": {describe_growth(probe.growth)}"
        )
        return f"{batch} out of memory{why}{kept}"
    if probe.outcome == "dataset":
        return f"{batch} is more than the data holds"
    lines = (probe.detail or "").strip().splitlines()
    return f"{batch} failed{where}" + (f": {lines[0]}" if lines else "")


def describe_growth(growth: Growth) -> str:
    """Return in words what a training keeps, and until when."""
    each = format_bytes(growth.bytes_per_step)
    unit, part = ("step", "epoch") if growth.phase == "training" else ("batch", "validation")
    if growth.pass_steps is None:
        return f"each {unit} of {growth.phase} keeps {each}"
    whole = format_bytes(growth.bytes_per_step * growth.pass_steps)
    return f"each {unit} keeps {each}, {whole} by the end of the {part}'s {growth.pass_steps}"


def advise_multiple(probes: Sequence[Probe], max_batch_size: int) -> str | None:
    """Return the advice to search multiples, where small batches raise and a larger one trains.

    None where the probes show no such thing.
    """
    training = [probe for probe in probes if probe.kind == "train"]
    fitting = [probe.batch_size for probe in training if probe.outcome == "fits"]
    failing = [probe.batch_size for probe in training if probe.outcome == "error"]
    if max_batch_size or not fitting or not failing:
        return None
    number = min(fitting)
    return (
        f"batch {number} trains, though batch {min(failing)} does not: if the batch must be a "
        f"multiple of {number}, set search.round_to: {number}"
    )
