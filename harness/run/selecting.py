"""Decides which of the selected cases a run measures, in which order, and until when."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from harness import report
from harness.errors import HarnessError
from harness.fleet.procedure import Elsewhere
from harness.lock_history import lock_at
from harness.scheduling.changed import Changes
from harness.scheduling.order import longest_first, most_telling_first
from harness.scheduling.time_budget import TimeBudget
from harness.scheduling.verified import locked_times, read_verified, write_verified
from harness.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pytest

    from harness.lockfile.profiles import LockedProfile
    from harness.matrix.case import Case
    from harness.report.case_result import CaseResult
    from harness.run.session import Session

_log = logging.getLogger("harness")

_BUDGET = "gpu_profile_time_budget"


class Selecting:
    """Selects and sorts a run's cases, on the controller; keeps its time budget, on workers too.

    Args:
        session: the run's.
        options: the values of flags, ini keys and defaults.
        given: what the controller has told this worker; None on the controller.

    Raises HarnessError where a flag is wrong, or names a commit whose lockfile cannot be read.

    """

    def __init__(
        self, session: Session, options: Mapping[str, Any], given: Mapping[str, Any] | None
    ) -> None:
        self._session = session
        self.budget = _budget(session, str(options["gpu_profile_budget"]), given)
        self.since = str(options["gpu_profile_changed_since"])
        self._changes: Changes | None = None
        if self.since and given is None:
            then = lock_at(session.paths.lock, self.since)
            self._changes = Changes(then, session.lock, lambda: session.paths.surroundings)
        self.unchanged: list[str] = []
        """The ids of the cases that are left out because they have not changed."""
        session.deadline = None if self.budget is None else self.budget.deadline

    def tell(self, workerinput: dict[str, Any]) -> None:
        """Give a worker what it needs to know of the controller's decisions."""
        if self.budget is not None:
            workerinput[_BUDGET] = [self.budget.seconds, self.budget.deadline]

    def refuse_other_schedulers(self) -> None:
        """Raise HarnessError for a flag that a scheduler of xdist's own would not obey."""
        flag = "changed-since" if self.since else "budget" if self.budget is not None else None
        if flag is not None:
            raise HarnessError(
                f"--gpu-profile-{flag} works with --dist load, the default of -n, and with workers "
                "on this machine: leave out another --dist or --tx"
            )

    def ordered(self, cases: Sequence[Case], *, side_by_side: bool) -> list[Case]:
        """Return the cases that the run measures, the most urgent first.

        side_by_side: whether several run at the same time; else the order of the matrix is kept
            unless there is a time budget.
        """
        chosen = self._changed(cases)
        if self.budget is not None:
            return self._most_telling_first(chosen)
        return longest_first(chosen, self.estimate) if side_by_side else chosen

    def estimate(self, case: Case) -> float | None:
        """Return a rough duration of a case; None where no speed is locked."""
        return report.seconds_of(report.cost_of(case, self._locked(case)))

    def refusal(self, case: Case) -> str | None:
        """Return why a case is not begun, or None."""
        # A node decides when it gets the case, which may be long before its test begins here.
        if self.budget is None or isinstance(self._session.procedure, Elsewhere):
            return None
        return self.budget.refusal(self.estimate(case))

    def note(self) -> str | None:
        """Return the line for the summary that tells what was left out."""
        if not self.since:
            return None
        number = report.count(len(self.unchanged), "case")
        return f"{number} deselected: unchanged since {self.since}"

    def remember(self, results: Sequence[CaseResult]) -> None:
        """Note the cases that this run has measured within their bounds. Raises HarnessError."""
        done = [one.case_id for one in results if one.status == "passed" and one.measurement]
        if done and self._session.procedure.source == "measured":
            write_verified(self._session.paths.results, done, time.time())

    def _changed(self, cases: Sequence[Case]) -> list[Case]:
        if self._changes is None:
            return list(cases)
        chosen = []
        for case in cases:
            why = self._changes.since(case)
            if why is None:
                self.unchanged.append(case.id)
            else:
                _log.info("%s: %s since %s", case.id, why, self.since)
                chosen.append(case)
        return chosen

    def _most_telling_first(self, cases: Sequence[Case]) -> list[Case]:
        assert self.budget is not None
        session = self._session
        changes = Changes(session.lock, session.lock, lambda: session.paths.surroundings)
        times = dict(locked_times(session.paths.lock))
        for name, when in read_verified(session.paths.results).items():
            times[name] = max(when, times.get(name, 0.0))
        return most_telling_first(
            cases,
            is_locked=lambda case: self._locked(case) is not None,
            has_changed=lambda case: changes.since(case) is not None,
            verified=times,
            budget_seconds=self.budget.seconds,
        )

    def _locked(self, case: Case) -> LockedProfile | None:
        try:
            return self._session.locked(case)
        except HarnessError:  # no device, or one in trouble: the case's own test says which
            return None


def case_of_item(item: pytest.Item) -> Case | None:
    """Return the case of a test; None for a test that is no case of the matrix."""
    case: Case | None = (
        item.callspec.params.get("gpu_profile") if hasattr(item, "callspec") else None
    )
    return case


def sort_items(selecting: Selecting, items: list[pytest.Item]) -> list[pytest.Item]:
    """Sort a run's tests by their cases, without xdist; return those that are left out.

    A test that is no case of the matrix stays, before all others.
    """
    cases = {case.id: case for case in map(case_of_item, items) if case is not None}
    places = {
        case.id: place
        for place, case in enumerate(selecting.ordered(list(cases.values()), side_by_side=False))
    }
    ranked = []
    dropped = []
    for item in items:
        case = case_of_item(item)
        if case is None or case.id in places:
            ranked.append((-1 if case is None else places[case.id], item))
        else:
            dropped.append(item)
    if selecting.budget is not None:
        ranked.sort(key=lambda pair: pair[0])
    items[:] = [item for _, item in ranked]
    return dropped


def _budget(session: Session, text: str, given: Mapping[str, Any] | None) -> TimeBudget | None:
    if given is not None:
        told = given.get(_BUDGET)
        return None if told is None else TimeBudget(*told)
    if not text:
        return None
    if session.verb != "measured":
        raise HarnessError(
            f"--gpu-profile-budget (ini: gpu_profile_budget) limits measurements, and this run "
            f"only {_DOES[session.verb]}: leave it out"
        )
    try:
        return TimeBudget.starting_now(parse_duration(text))
    except ValueError as error:
        raise HarnessError(f"--gpu-profile-budget (ini: gpu_profile_budget): {error}") from None


_DOES = {"predicted": "predicts", "checked": "checks the lock"}
