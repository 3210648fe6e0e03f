"""The value of the `gpu_profile` fixture: one case in one test."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest

from harness import report
from harness.errors import OutOfTimeError, UnpredictableError
from harness.report.case_result import CaseResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.bounds.verdict import Verdict
    from harness.lockfile.profiles import LockedProfile
    from harness.matrix.case import Case
    from harness.measurement import Measurement
    from harness.run.session import Session

_Found = TypeVar("_Found")


class GpuProfile:
    """One case in one test; the value of the fixture."""

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
        """The measurement of this run, or its prediction; taken on first use.

        A workload that cannot be predicted skips the test, unless a prediction is locked, and so
        does the end of the run's time budget. Raises
        WorkloadError when the workload cannot be built or set up, and MachineError when the machine
        is in trouble.
        """
        return self._unless_unpredictable(self._session.measure)

    def _unless_unpredictable(self, call: Callable[[Case], _Found]) -> _Found:
        try:
            return call(self.case)
        except OutOfTimeError as error:
            pytest.skip(f"{error}{self._session.so_far(self.case)}")
        except UnpredictableError as error:
            if self.locked is None or self.locked.predicted_batch_size is None:
                pytest.skip(str(error))
            raise

    @property
    def update_command(self) -> str:
        """The command of pytest that locks the values of this run."""
        return f'pytest --gpu-profile{self._session.flags} --gpu-profile-update "{self._node_id}"'

    def assert_within_bounds(self) -> None:
        """Fail the test when the measurement is out of the bounds around the locked profile.

        Under `--gpu-profile-update` every measurement that is locked passes, unless no batch trains
        at all. Under the preset `production` nothing is measured: the locked profile itself must be
        complete and fresh.
        """
        __tracebackhide__ = True
        self._verdict = self._unless_unpredictable(self._session.judge)
        measurement = self._session.measured(self.case)
        trains = measurement is None or measurement.max_batch_size > 0
        violations = self._verdict.violations
        within = trains and (self._session.updates(violations) or not violations)
        self._accepted = within and measurement is not None
        if not within:
            pytest.fail(
                report.failure_text(self.result("failed"), self.update_command), pytrace=False
            )

    def result(self, status: str, reason: str | None = None) -> CaseResult:
        """Sum up the case for the report, with the status of its test."""
        measurement = self._session.measured(self.case)
        if measurement is not None and self._verdict is None:
            self._verdict = self._session.judge(self.case)
        violations = self._verdict.violations if self._verdict else ()
        return CaseResult(
            case_id=self.case.id,
            axes=dict(self.case.axes),
            status=status,  # type: ignore[arg-type] # pytest's outcomes and `error` are statuses
            reason=reason,
            source=self._session.procedure.source,
            measurement=measurement,
            # A case that was skipped has no device, and so no profile.
            locked=self.locked if self._verdict is not None else None,
            violations=violations,
            improvements=self._verdict.improvements if self._verdict else (),
            warnings=self._verdict.warnings if self._verdict else (),
            # An update also accepts cases whose tests never call `assert_within_bounds`.
            accepted=self._accepted
            or (measurement is not None and self._session.updates(violations)),
            update_command=self.update_command,
            verb_flags=self._session.paths.verb_flags,
            seconds=measurement.seconds if measurement is not None else 0.0,
        )
