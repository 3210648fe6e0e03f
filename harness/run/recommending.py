"""Recommends precisions at the end of a run, by what it measured and by what is locked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.lockfile.precisions import AXIS, Recommendation, group_of, recommend

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.case_names import Scalar
    from harness.matrix.case import Case
    from harness.measurement import Profile
    from harness.report.case_result import CaseResult
    from harness.run.session import Session


def recommended_precisions(
    session: Session, results: Sequence[CaseResult]
) -> tuple[Recommendation, ...]:
    """Return the recommendation for each group of cases of which this run did not skip all.

    The cases of a group differ in the axis `precision` alone.
    """
    ran = {result.case_id: result for result in results}
    done = {result.case_id for result in results if result.status != "skipped"}
    groups: dict[tuple[tuple[str, Scalar], ...], list[Case]] = {}
    for case in session.cases:
        if AXIS in case.axes:
            groups.setdefault(tuple(group_of(case.axes).items()), []).append(case)
    return tuple(
        _of_group(session, dict(axes), cases, ran)
        for axes, cases in groups.items()
        if len(cases) > 1 and any(case.id in done for case in cases)
    )


def _of_group(
    session: Session,
    axes: dict[str, Scalar],
    cases: Sequence[Case],
    ran: Mapping[str, CaseResult],
) -> Recommendation:
    profiles: dict[Scalar, Profile] = {}
    absent: dict[Scalar, str] = {}
    for case in cases:
        found = _values(session, case, ran.get(case.id))
        if isinstance(found, str):
            absent[case.axes[AXIS]] = found
        else:
            profiles[case.axes[AXIS]] = found
    return recommend(axes, profiles, absent)


def _values(session: Session, case: Case, result: CaseResult | None) -> Profile | str:
    """Return what this run measured of a case, else what is locked, else why there is nothing."""
    if result is not None and result.measurement is not None:
        return result.measurement
    if result is not None and result.locked is None:
        return f"{result.status}: {(result.reason or 'no reason given').partition(chr(10))[0]}"
    try:
        locked = session.locked(case)
    except HarnessError as error:
        return str(error)
    return "not run, and not locked" if locked is None else locked
