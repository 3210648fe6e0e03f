"""`gpu-profile show CASE --memory`: where the memory goes, as a lockfile holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from harness.breakdown.shares import Breakdown, breakdown
from harness.cli.common import say, say_aside
from harness.cli.showing.probed_slope import ProbedSlope, compare_slopes, probed_slope
from harness.device_identity import DeviceIdentity
from harness.errors import HarnessError
from harness.lockfile.profiles import read_lock
from harness.report.memory import memory_block
from harness.report.words import place
from harness.wording import shown_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.lockfile.profiles import LockedProfile
    from harness.run.paths import Paths

_CANDIDATE = "candidate.lock"


class MemoryRow(TypedDict):
    """A part of the memory at the peak."""

    kind: str
    """`parameter`, `gradient`, `optimizer`, `activation`, `activation gradient`, `workspace`,
    `input`, `kernel`, or `unexplained`."""
    module: str
    """Empty where a kind is counted as a whole."""
    bytes: int
    bytes_per_sample: int | None
    """null where that is not known."""


class ProbedSlopeData(TypedDict):
    """What each sample takes between the last run's probes of the largest and a smaller batch."""

    smaller_batch_size: int
    bytes_per_sample: int


class MemoryData(TypedDict):
    """The parts of the peak of a profile, which add up to `peak_bytes`."""

    device: DeviceIdentity
    max_batch_size: int
    """The batch whose peak it is."""
    peak_bytes: int
    rows: list[MemoryRow]
    probed: ProbedSlopeData | None
    """null where the last run has not trained a smaller batch, or is of another measurement."""


def show_memory(profiles: Iterable[LockedProfile], paths: Paths) -> list[MemoryData]:
    """Print where the memory of a case goes on each device, and return the same as data.

    Where the lock does not hold it, the candidate of the last run may. Raises HarnessError, with
    what to do, where neither has it for any device.
    """
    found: list[tuple[LockedProfile, Breakdown]] = []
    missing: list[str] = []
    case = ""
    for profile in profiles:
        case = profile.case_id
        parts = breakdown(profile)
        known = _of_last_run(profile, paths) if parts is None else (profile, parts)
        if known is None:
            missing.append(_reason(profile))
        else:
            found.append(known)
    if not found:
        raise HarnessError(
            f"nothing is stored on where the memory of {case} goes: {'; '.join(missing)}"
        )
    slopes = [probed_slope(profile, paths.results) for profile, _ in found]
    say(
        "\n\n".join(
            memory_block(profile, parts) + _compared(profile, parts, slope)
            for (profile, parts), slope in zip(found, slopes, strict=True)
        )
    )
    for reason in missing:
        say_aside(f"gpu-profile: {reason}")
    return [
        _data(profile, parts, slope) for (profile, parts), slope in zip(found, slopes, strict=True)
    ]


def _compared(profile: LockedProfile, parts: Breakdown, slope: ProbedSlope | None) -> str:
    if slope is None or not profile.memory_per_sample:
        return ""
    return f"\n{compare_slopes(profile, parts, slope)}"


def _of_last_run(profile: LockedProfile, paths: Paths) -> tuple[LockedProfile, Breakdown] | None:
    path = paths.results / _CANDIDATE
    other = read_lock(path).partner(profile)
    parts = None if other is None else breakdown(other)
    if other is None or parts is None:
        return None
    say_aside(f"gpu-profile: the lock does not hold it; this is of {shown_path(path)}")
    return other, parts


def _reason(profile: LockedProfile) -> str:
    """Return why there is nothing, and what to do."""
    where = place(profile.device, {})
    if "command" in profile.workload:
        return f"on {where}, a command trains, and the modules of its process are its own"
    flag = " --gpu-profile-predict" if profile.source == "predicted" else ""
    return (
        f"on {where}, it was locked before this was measured, or could not be; measure it with "
        f"`pytest --gpu-profile{flag} --gpu-profile-update -k {profile.case_id}`"
    )


def _data(profile: LockedProfile, parts: Breakdown, slope: ProbedSlope | None) -> MemoryData:
    return {
        "device": profile.device,
        "max_batch_size": profile.max_batch_size,
        "peak_bytes": parts.peak_bytes,
        "rows": [
            {
                "kind": row.kind,
                "module": row.module,
                "bytes": row.num_bytes,
                "bytes_per_sample": row.bytes_per_sample,
            }
            for row in parts.rows
        ],
        "probed": None
        if slope is None
        else {"smaller_batch_size": slope.smaller, "bytes_per_sample": slope.bytes_per_sample},
    }
