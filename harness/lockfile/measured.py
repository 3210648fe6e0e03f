"""Reads from a run's `report.json` which profiles of the candidate beside it the run measured.

The report may come from a stranger, as the candidate may.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING, NoReturn

from harness.lockfile.report_file import UnreadableReportError, read_report, shown
from harness.lockfile.toml_text import LockError
from harness.measurement import DeviceIdentity
from harness.wording import shown_path

if TYPE_CHECKING:
    from pathlib import Path

    from harness.lockfile.profiles import LockedProfile

_CANDIDATE = "candidate.lock"
_REPORT = "report.json"
_MAX_MEMORY = 2**63


class Measured:
    """The cases and devices that a run measured."""

    def __init__(self) -> None:
        # The memory of the devices, by case and name. Devices match within 1% of memory.
        self._memory: dict[tuple[str, str], list[int]] = {}

    def add(self, case_id: str, device: DeviceIdentity) -> None:
        """Add a case on a device."""
        insort(self._memory.setdefault((case_id, device.name), []), device.memory_bytes)

    def holds(self, profile: LockedProfile) -> bool:
        """Return whether the run measured the case of a profile on its device."""
        device = profile.device
        memory = self._memory.get((profile.case_id, device.name), [])
        at = bisect_left(memory, device.memory_bytes)
        near = memory[max(at - 1, 0) : at + 1]
        return any(device.matches(DeviceIdentity(device.name, one)) for one in near)


def measured_beside(candidate: Path) -> Measured | None:
    """Return what a candidate's run measured; None without a report.

    Raises LockError, which names the place in the report, when the report cannot be used: what it
    does not name would be lost in silence.
    """
    path = candidate.with_name(_REPORT)
    if candidate.name != _CANDIDATE:
        return None
    try:
        report = read_report(path)
    except UnreadableReportError as error:
        raise _refused(path, str(error)) from error
    if report is None:
        return None
    measured = Measured()
    for number, case in enumerate(report["cases"]):
        _add_case(measured, case, _Place(path, number))
    return measured


class _Place:
    """A case in a report, for errors."""

    def __init__(self, path: Path, number: int) -> None:
        self._path = path
        self._number = number

    def refuse(self, key: str, value: object, wanted: str) -> NoReturn:
        where = f"cases[{self._number}]{key}"
        raise _refused(self._path, f"{where} is {shown(value)}; {wanted} is needed")


def _add_case(measured: Measured, case: object, place: _Place) -> None:
    if not isinstance(case, dict):
        place.refuse("", case, "an object")
    # The report of an earlier version has all of these keys, too; null stands for "not measured".
    for key in ("id", "device"):
        if key not in case:
            place.refuse(f".{key}", None, "the key")
    if not isinstance(case["id"], str):
        place.refuse(".id", case["id"], "a text")
    device = case["device"]
    if device is None:
        return
    if not isinstance(device, dict):
        place.refuse(".device", device, "an object or null")
    name, memory = device.get("name"), device.get("memory_bytes")
    if not isinstance(name, str):
        place.refuse(".device.name", name, "a text")
    if not isinstance(memory, int) or isinstance(memory, bool) or not 0 <= memory < _MAX_MEMORY:
        place.refuse(".device.memory_bytes", memory, "a whole number from 0")
    measured.add(case["id"], DeviceIdentity(name, memory))


def _refused(path: Path, reason: str) -> LockError:
    return LockError(
        f"{shown_path(path)}: cannot be read as the report of a run: {reason}. It names the "
        f"profiles of {_CANDIDATE} that the run measured: copy it anew from the run, or remove it "
        "to merge all that the candidate changes"
    )
