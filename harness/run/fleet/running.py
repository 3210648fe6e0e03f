"""Runs the tests of a fleet's cases, each when its case has ended."""

from __future__ import annotations

import time
from collections import Counter, deque
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from harness.errors import HarnessError
from harness.fleet.job import Job
from harness.fleet.procedure import Elsewhere
from harness.run.selecting import case_of_item
from harness.scheduling.order import longest_first

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.matrix.case import Case
    from harness.run.selecting import Selecting
    from harness.run.session import Session

_WAIT_SECONDS = 1.0


class RunningElsewhere:
    """The plugin of a run whose cases a fleet measures.

    Args:
        session: the run's.
        selecting: estimates the cases: the longest is given first.
        elsewhere: the procedure of the session.
        started: takes the id of each test which an interruption has kept from running, though its
            case has ended, or has begun; with the node that it ran on if it has not ended.

    """

    def __init__(
        self,
        session: Session,
        selecting: Selecting,
        elsewhere: Elsewhere,
        started: dict[str, str | None],
    ) -> None:
        self._session = session
        self._selecting = selecting
        self._fleet = elsewhere.fleet
        self._waits = elsewhere.waits
        self._started = started

    # As pytest's own, in another order.
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Give all cases to the fleet, and run the tests of each when it has ended."""
        if session.testsfailed and not session.config.option.continue_on_collection_errors:
            raise session.Interrupted(
                f"{session.testsfailed} error{'s' if session.testsfailed != 1 else ''} "
                "during collection"
            )
        if session.config.option.collectonly:
            return True
        waiting, ready = self._begin(session.items)
        # Of the tests that wait. Thousands may, so they are counted and not searched.
        parents = Counter(one.parent for some in waiting.values() for one in some)
        running: list[pytest.Item] = []
        try:
            while waiting or ready:
                self._wait(waiting, ready, parents)
                running = [item := ready.popleft()]
                following = _following(item, ready, waiting, parents)
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if session.shouldfail:
                    raise session.Failed(session.shouldfail)
                if session.shouldstop:
                    raise session.Interrupted(session.shouldstop)
        except KeyboardInterrupt:
            if waiting:
                self._fleet.take_what_is_here()
            self._keep([*running, *ready, *(one for some in waiting.values() for one in some)])
            raise
        return True

    def _wait(
        self,
        waiting: dict[str, list[pytest.Item]],
        ready: deque[pytest.Item],
        parents: Counter[pytest.Collector | None],
    ) -> None:
        """Take what has ended; wait for it only if no test is ready."""
        seconds = 0.0 if ready else _WAIT_SECONDS
        while True:
            for name in self._fleet.wait(seconds):
                ended = waiting.pop(name, [])
                ready.extend(ended)
                parents -= Counter(one.parent for one in ended)
            if ready:
                return

    def _keep(self, items: Sequence[pytest.Item]) -> None:
        """Keep what has been measured for tests that have not run to their end."""
        for item in items:
            case = case_of_item(item)
            if case is None:
                continue
            if self._fleet.outcome(case) is None:
                if (node := self._fleet.place_of(case)) is not None:
                    self._started[item.nodeid] = node
                continue
            with suppress(HarnessError):
                self._session.measure(case)
                self._started[item.nodeid] = None

    def _begin(
        self, items: Sequence[pytest.Item]
    ) -> tuple[dict[str, list[pytest.Item]], deque[pytest.Item]]:
        """Start the fleet; return the tests that wait for a case, by its id, and all others."""
        waiting: dict[str, list[pytest.Item]] = {}
        ready: deque[pytest.Item] = deque()
        cases: dict[str, Case] = {}
        for item in items:
            case = case_of_item(item)
            if case is None or not self._session.has_device(case):
                ready.append(item)
            else:
                waiting.setdefault(case.id, []).append(item)
                cases[case.id] = case
        around = self._session.paths.surroundings
        until = self._session.deadline
        job = Job.of(
            around,
            self._session.paths.root,
            self._waits,
            None if until is None else time.time() + until - time.monotonic(),
        )
        order = longest_first(list(cases.values()), self._selecting.estimate)
        self._fleet.start(order, self._session.lock, job)
        return waiting, ready


def run_elsewhere(
    config: pytest.Config,
    session: Session,
    selecting: Selecting,
    started: dict[str, str | None],
) -> None:
    """Register the plugin if a fleet measures the cases; arguments as there."""
    if isinstance(session.procedure, Elsewhere):
        plugin = RunningElsewhere(session, selecting, session.procedure, started)
        config.pluginmanager.register(plugin, "gpu_profile_fleet")


def warnings_of_fleet(session: Session) -> tuple[str, ...]:
    """Return what is to be said of a fleet's nodes; nothing where there is none."""
    procedure = session.procedure
    return procedure.fleet.warnings if isinstance(procedure, Elsewhere) else ()


def _following(
    item: pytest.Item,
    ready: deque[pytest.Item],
    waiting: dict[str, list[pytest.Item]],
    parents: Counter[pytest.Collector | None],
) -> pytest.Item | None:
    """Return a test to keep fixtures for: the next one, or one beside it if nobody knows the next.

    What tests of one class or module share stays until the last of them. Where some wait that are
    elsewhere, any may be next, so nothing stays.

    parents: what the waiting tests stand in.
    """
    if ready:
        return ready[0]
    beside = next(iter(waiting.values()), None)
    return beside[0] if beside and parents.keys() == {item.parent} else None
