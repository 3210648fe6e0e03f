"""What the `gpu_profile` fixture gives a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import report
from harness.endings import UntraceableError
from harness.result import CaseResult

if TYPE_CHECKING:
    from harness.bounds import Verdict
    from harness.lockfile import LockedProfile
    from harness.matrix import Case
    from harness.measurement import Measurement
    from harness.session import Session


class GpuProfile:
    """One case in one test."""

    def __init__(self, session: Session, case: Case, node_id: str) -> None:
        self.case = case
        """The combination, with its settings."""
        self._session = session
        self._node_id = node_id
        self._verdict: Verdict | None = None
        self._accepted = False

    @property
    def locked(self) -> LockedProfile | None:
        """The committed profile of this case on this device, or None."""
        return self._session.locked(self.case)

    @property
    def measurement(self) -> Measurement:
        """What this run found, by measurement or, where it was asked for that, by prediction; taken on first use.

        A workload that cannot be predicted skips the test, unless a prediction is locked. Raises WorkloadError when the
        workload cannot be built or set up, MachineError when the machine is in the way.
        """
        try:
            return self._session.measure(self.case)
        except UntraceableError as error:
            if self.locked is None or self.locked.predicted_batch_size is None:
                pytest.skip(f"{error}; it can only be measured")
            raise

    @property
    def update_command(self) -> str:
        """The command that accepts what this run found."""
        predict = " --gpu-profile-predict" if self._session.predict else ""
        return f'pytest --gpu-profile{predict} --gpu-profile-update "{self._node_id}"'

    def assert_within_bounds(self) -> None:
        """Fail the test when the measurement falls behind the locked profile by more than the bounds.

        Under `--gpu-profile-update` whatever trains is accepted; that nothing trains never is.
        """
        __tracebackhide__ = True
        measurement = self.measurement
        self._verdict = self._session.judge(self.case)
        self._accepted = measurement.max_batch_size > 0 and (
            self._session.update or not self._verdict.violations
        )
        if not self._accepted:
            pytest.fail(report.failure_text(self.result("failed"), self.update_command), pytrace=False)

    def result(self, status: str, reason: str | None = None) -> CaseResult:
        """Sum up the case for the report, with the status of its test."""
        measurement = self._session.measured(self.case)
        if measurement is not None and self._verdict is None:
            self._verdict = self._session.judge(self.case)
        return CaseResult(
            case_id=self.case.id,
            axes=dict(self.case.axes),
            status=status,  # type: ignore[arg-type] # pytest's outcomes and `error`, all of them statuses
            reason=reason,
            source="predicted" if self._session.predict else "measured",
            measurement=measurement,
            locked=self.locked if measurement is not None else None,
            violations=self._verdict.violations if self._verdict else (),
            improvements=self._verdict.improvements if self._verdict else (),
            warnings=self._verdict.warnings if self._verdict else (),
            # An update writes what was measured, also for tests with asserts of their own.
            accepted=self._accepted or (self._session.update and measurement is not None),
            update_command=self.update_command,
            seconds=measurement.seconds if measurement is not None else 0.0,
        )
