"""The session of the preset `production`: it measures nothing, and checks that all is locked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.bounds.verdict import Verdict
from harness.check.locked_cases import LockedCases
from harness.errors import HarnessError
from harness.measure.measuring import Measuring
from harness.measurement import DeviceIdentity
from harness.run.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.lockfile.profiles import LockedProfile
    from harness.matrix.case import Case
    from harness.measurement import Measurement
    from harness.report.case_result import CaseResult
    from harness.run.paths import Paths


class CheckingSession(Session):
    """Compares each case with its locked profiles, on any machine; raises as `Session`.

    leave_preset: the flag with which a run measures, where the preset is not that of the command
        line.
    """

    def __init__(self, paths: Paths, cases: tuple[Case, ...], leave_preset: str = "") -> None:
        super().__init__(paths, cases, Measuring(), preset_flag=leave_preset)
        self._checked = LockedCases(self.lock, lambda: self.paths.surroundings)

    @property
    def verb(self) -> str:
        """What is done with a case."""
        return "checked"

    def found_nothing(self, results: Sequence[CaseResult]) -> bool:
        """Return whether a run has checked no case at all."""
        return all(result.status == "skipped" for result in results)

    def locked(self, case: Case) -> LockedProfile | None:
        """Return the case's first profile on a device that its GPU label matches."""
        return next(iter(self._checked.profiles(case)), None)

    def identity(self, case: Case) -> DeviceIdentity:
        """Return the device of the locked profile, or what the matrix says of it."""
        locked, gpu = self.locked(case), case.device
        if locked is not None:
            return locked.device
        return DeviceIdentity(gpu.name or "cpu", gpu.budget or gpu.memory or 0)

    def device(self, case: Case) -> None:
        """Return None: nothing runs on a device."""

    def measure(self, case: Case) -> Measurement:
        """Raise HarnessError: nothing is measured."""
        raise HarnessError(
            f"{case.id} is not measured: the preset production only checks the lock. Read "
            "gpu_profile.locked here, or leave this test out of the run; "
            "--gpu-profile-preset none measures"
        )

    def judge(self, case: Case) -> Verdict:
        """Return what is missing or stale. Raises WorkloadError when the workload is broken."""
        missing = self._checked.missing(case)
        never = not self._checked.profiles(case)
        return Verdict((*missing, *(() if never else self._checked.stale(case))))
