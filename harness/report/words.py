"""Formats single values, the same in the terminal, in failures and in Markdown.

Batch sizes carry no thousands separators: they are copied into code. Memory is in binary units,
learning rates have two significant digits, shares and changes are percentages with one decimal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.case_names import label
from harness.units import format_bytes, format_speed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.measurement import DeviceIdentity, Measurement, Profile
    from harness.report.case_result import CaseResult

MISSING = "-"
"""The cell of a missing value."""


def learning_rate(value: float | None) -> str:
    """Return a learning rate as `3.2e-03`."""
    return MISSING if value is None else f"{value:.1e}"


def learning_rate_mark(measurement: Measurement) -> str:
    """Return the learning rate with its origin: `3.2e-03`, `kept 3.2e-03`, `refused` or `-`."""
    if measurement.learning_rate is None:
        return "refused" if measurement.lr_refusal else MISSING
    return f"{'kept ' if measurement.lr_kept else ''}{learning_rate(measurement.learning_rate)}"


def inference(profile: Profile) -> str | None:
    """Return the batch sizes of inference alone: `validate 640, predict 712`; None without any."""
    sizes = profile.inference_batch_sizes
    return ", ".join(f"{function} {size}" for function, size in sizes.items()) or None


def buckets(profile: Profile) -> str | None:
    """Return the batch sizes of buckets, by edge: `128: 64, 256: 31`; None without any."""
    sizes = {label(bucket.edge): bucket.batch_size for bucket in profile.buckets}
    return ", ".join(f"{edge}: {size}" for edge, size in sizes.items()) or None


def bounds_of_buckets(profile: Profile) -> str:
    """Return what else than memory bounds a bucket: `; 128 is bounded by dataset`."""
    return "".join(
        f"; {label(bucket.edge)} is bounded by {bucket.bounded_by}"
        for bucket in profile.buckets
        if bucket.bounded_by != "memory"
    )


def learning_rate_range(profile: Profile) -> str | None:
    """Return where training is as good, and of what horizon: `0.0021 to 0.0048, over 40 steps`."""
    if not profile.learning_rate_range:
        return None
    lowest, highest = profile.learning_rate_range
    over = "" if profile.lr_horizon is None else f", over {count(profile.lr_horizon, 'step')}"
    return f"{lowest:.3g} to {highest:.3g}{over}"


def relative_change(measured: float, locked: float) -> str:
    """Return how far `measured` is from `locked`, which is never 0: `+0.0%`, `-12.5%`."""
    return f"{measured / locked - 1:+.1%}"


def change(result: CaseResult) -> str:
    """Return how far the largest batch is from the locked one, or `new` without a locked one."""
    if result.measurement is None:
        return MISSING
    baseline = baseline_of(result)
    return (
        "new" if baseline is None else relative_change(result.measurement.max_batch_size, baseline)
    )


def baseline_of(result: CaseResult) -> int | None:
    """Return the locked batch that a case's largest one is compared with, or None.

    A prediction is compared only with a locked prediction, a measurement only with a locked
    measurement.
    """
    if result.locked is None or result.source == "predicted":
        return None if result.locked is None else result.locked.predicted_batch_size
    return None if result.locked.source == "predicted" else result.locked.max_batch_size


def largest_batch(measurement: Measurement) -> str:
    """Return the largest batch; `~3712` if it is predicted."""
    return f"{'~' if measurement.source == 'predicted' else ''}{measurement.max_batch_size}"


def step(profile: Profile) -> str:
    """Return what makes the global batch: `, 4 of them make 1024`; nothing where none is set."""
    if profile.global_batch_size is None or profile.accumulate_grad_batches is None:
        return ""
    number = profile.accumulate_grad_batches
    of = "them" if profile.device.count == 1 else f"them on each of {profile.device.count} ranks"
    return f", {number} of {of} make{'s' * (number == 1)} {profile.global_batch_size}"


def loading(measurement: Measurement) -> str:
    """Return the rates of the loader by workers, and that of the step: what the lock rests on."""
    first, *others = measurement.loader_samples_per_second.items()
    rates = [f"{speed(first[1])} samples/s with {first[0]} workers"]
    rates += [f"{speed(rate)} with {workers}" for workers, rate in others]
    return (
        f"the loader alone loads {', '.join(rates)}, and the step alone takes "
        f"{speed(measurement.step_samples_per_second)}"
    )


def peak_share(measurement: Measurement) -> str:
    """Return the peak memory at the largest batch as a share of the limit: `97.7%`."""
    if measurement.peak_memory_bytes is None or not measurement.memory_limit_bytes:
        return MISSING
    return f"{measurement.peak_memory_bytes / measurement.memory_limit_bytes:.1%}"


def peak_of_limit(measurement: Measurement) -> str:
    """Return `250.1 MiB of 256.0 MiB`, or the limit alone when no probe fitted."""
    limit = format_bytes(measurement.memory_limit_bytes)
    if measurement.peak_memory_bytes is None:
        return limit
    return f"{format_bytes(measurement.peak_memory_bytes)} of {limit}"


def speed(samples_per_second: float | None) -> str:
    """Return samples per second: whole from 100 on, one decimal below."""
    return MISSING if samples_per_second is None else format_speed(samples_per_second)


def place(device: DeviceIdentity, made_with: Mapping[str, str]) -> str:
    """Return where a profile was made: `NVIDIA H200, 140.4 GiB, torch 2.11.0`."""
    torch = f", torch {made_with['torch']}" if "torch" in made_with else ""
    return f"{device.name}, {format_bytes(device.memory_bytes)}{torch}"


def count(number: int, noun: str) -> str:
    """Return `1 case` or `2 cases`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
