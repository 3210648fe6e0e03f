"""Sums up the cases that a run was measuring when it was interrupted."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

from harness.case_names import MAX_ID_LENGTH
from harness.devices.device import NoSuchDeviceError
from harness.measure.so_far import SOAK, TIMING
from harness.report.case_result import CaseResult

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pytest

    from harness.matrix.case import Case
    from harness.run.session import Session

_GOES_ON = ": the next run goes on from there"


def interrupted_cases(session: Session, started: Mapping[str, str | None]) -> Iterator[CaseResult]:
    """Yield a result for each case whose test had started and did not end.

    What was found before the interruption is part of the result, and so of the candidate lockfile,
    without a learning rate unless the locked one holds.

    started: by the id of each test the node that its case ran on; None where it was this machine.
    """
    by_id = {case.id: case for case in session.cases}
    for test, node in sorted(started.items()):
        case = case_of(test, by_id)
        if case is not None:
            yield _result(session, case, node)


def lost_with_worker(session: Session, report: pytest.TestReport) -> CaseResult | None:
    """Return the result of a case whose worker has crashed; None where the report tells of none.

    It is xdist's report of the crash, for which no worker has sent a result.
    """
    if report.when not in ("setup", "call", "teardown"):
        case = case_of(report.nodeid, {case.id: case for case in session.cases})
        if case is not None:
            crash = str(report.longrepr).partition(" while running ")[0]
            return _made(session, case, f"{crash}{_GOES_ON}")
    return None


def case_of(test: str, by_id: Mapping[str, Case]) -> Case | None:
    """Return the case in a test's id: `test_profiles.py::test_gpu_profile[net-cpu-64MiB-16]`.

    A test may have further parameters, before the case or behind it.
    """
    parameters = test.partition("[")[2].rpartition("]")[0]
    if (whole := by_id.get(parameters)) is not None:
        return whole
    parts = parameters.split("-")
    found = [
        by_id[name]
        for begin in range(len(parts))
        for name in accumulate(parts[begin : begin + MAX_ID_LENGTH], "{}-{}".format)
        if name in by_id
    ]
    return max(found, key=lambda case: len(case.id), default=None)


def _made(session: Session, case: Case, reason: str) -> CaseResult:
    return CaseResult(
        case_id=case.id,
        axes=dict(case.axes),
        status="error",
        reason=reason,
        source=session.procedure.source,
    )


def _result(session: Session, case: Case, node: str | None) -> CaseResult:
    made = _made(session, case, f"interrupted before a batch size was found{_GOES_ON}")
    if (measured := session.measured(case)) is not None:
        return replace(
            made,
            reason=f"interrupted in its test; batch {measured.max_batch_size} was measured",
            measurement=measured,
            locked=session.locked(case),
        )
    if node is not None:  # its probes stay there
        return replace(made, reason=f"interrupted while {node} measured it")
    found = session.found_before_interruption(case)
    if found is None:
        return made
    batch = found.measurement.max_batch_size
    if found.during == TIMING:
        reason = f"interrupted in {TIMING}; batch {batch} is the largest{_GOES_ON}"
        return replace(made, reason=reason)
    if found.during == SOAK:
        reason = f"interrupted in the soak; batch {batch} fits for a few steps{_GOES_ON}"
        return replace(made, reason=reason)
    try:
        locked = session.locked(case)
    except NoSuchDeviceError:
        locked = None
    return replace(
        made,
        reason=f"interrupted in {found.during}; batch {batch} was measured{_GOES_ON}",
        measurement=found.measurement,
        locked=locked,
    )
