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
        peak += "" if probe.rank is None else f" on rank {probe.rank}"
    return f"{describe_outcome(probe)}{peak}, {probe.seconds:.1f} s"


def describe_outcome(probe: Probe) -> str:
    """Return the batch size of a probe and its outcome: `batch 72 out of memory in backward`."""
    batch = _batch(probe)
    where = f" in {probe.phase}" if probe.phase else ""
    where += "" if probe.rank is None else f" on rank {probe.rank}"
    detail = next(iter((probe.detail or "").strip().splitlines()), "")
    if probe.outcome == "fits":
        retries = f", thrashing ({probe.alloc_retries} retries)" if probe.alloc_retries else ""
        return f"{batch} fits{retries}"
    if probe.outcome == "oom":
        # Without a phase it has trained, and its detail tells why that is not enough.
        why = where if probe.phase or not detail else f"{where}: {detail}"
        kept = (
            "" if probe.growth is None or not probe.phase else f": {describe_growth(probe.growth)}"
        )
        return f"{batch} out of memory{why}{kept}"
    if probe.outcome == "dataset":
        return f"{batch} is more than the data holds"
    return f"{batch} failed{where}" + (f": {detail}" if detail else "")


def _batch(probe: Probe) -> str:
    """Return what a probe has tried: `batch 72`, `bucket 128: batch 72`."""
    if probe.kind == "bucket":
        return f"bucket {', '.join(probe.buckets)}: batch {probe.batch_size}"
    if probe.kind == "joint":
        sizes = ", ".join(f"{edge}: {size}" for edge, size in probe.buckets.items())
        return f"all buckets in turn ({sizes})"
    return f"{'' if probe.kind == 'train' else f'{probe.kind} '}batch {probe.batch_size}"


def warn_of_growth(probe: Probe) -> str | None:
    """Return what a user should know of a batch that fits although memory grows; None if nothing.

    Growth that was seen to end with its epoch is no reason to warn: the batch has room for it.
    """
    growth = probe.growth
    if growth is None:
        return None
    what = describe_growth(growth)
    if growth.given_back is False:
        return (
            f"batch {probe.batch_size} trains an epoch, but not any number of them: {what}, and "
            "nothing is given back when it ends; find what keeps it"
        )
    if growth.pass_steps is None:
        return (
            f"the memory of batch {probe.batch_size} grows without an end that its probe has seen: "
            f"{what}; find what keeps it, or see with search.soak_steps how long it lasts"
        )
    return (
        f"batch {probe.batch_size} has room for what is kept until the end ({what}); with more "
        "data, less fits"
    )


def describe_growth(growth: Growth) -> str:
    """Return in words what a training keeps, and until when."""
    each = format_bytes(growth.bytes_per_step)
    unit, part = ("step", "epoch") if growth.phase == "training" else ("batch", growth.phase)
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
