"""Distributes the tests of a run over xdist's workers, by the GPUs that their cases need."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import HarnessError
from harness.run.interruption import case_of
from harness.run.opening import open_session
from harness.run.paths import Paths
from harness.scheduling.places import Places, place_of
from harness.scheduling.workers import BESIDE_BUDGET_BYTES, PREDICTION_BYTES, num_workers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.matrix.case import Case
    from harness.run.selecting import Selecting
    from harness.run.session import Session

_MARK = "gpu_profile_one_at_a_time"
# xdist's own variable, which its users set on purpose.
_OWN_NUMBER = "PYTEST_XDIST_AUTO_NUM_WORKERS"


class Distributing:
    """The plugin on the controller of xdist's workers; raises as `refuse_other_schedulers`."""

    def __init__(self, config: pytest.Config, session: Session, selecting: Selecting) -> None:
        if config.getoption("tx", None) and not is_ours(config):
            selecting.refuse_other_schedulers()
        self._session = session
        self._selecting = selecting
        self._by_id: dict[str, Case | None] = {}

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Replace the scheduler of `--dist load`; what else was asked for stays."""
        if not is_ours(config):
            return None
        from harness.scheduling.one_at_a_time import OneAtATime  # noqa: PLC0415 - needs xdist

        return OneAtATime(config, log, self._plan, self._choose)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker that every second test is a placeholder."""
        node.workerinput[_MARK] = is_ours(node.config)

    def _plan(self, tests: Sequence[str]) -> list[int]:
        """Return the places of the tests that run, the most urgent first."""
        known = {case.id: case for case in self._session.cases}
        for test in tests:
            self._by_id[test] = case_of(test, known)
        cases = {case.id: case for case in self._by_id.values() if case is not None}
        order = self._selecting.ordered(list(cases.values()), side_by_side=True)
        rank = {case.id: number for number, case in enumerate(order)}
        self._places = Places(
            {name: place_of(case, self._session.device) for name, case in cases.items()}
        )
        # What is no case of the matrix comes first: it takes no GPU.
        ranks = [-1 if case is None else rank.get(case.id) for case in map(self._by_id.get, tests)]
        chosen = [(place, index) for index, place in enumerate(ranks) if place is not None]
        return [index for _, index in sorted(chosen)]

    def _choose(self, waiting: Iterable[str], running: Iterable[str]) -> int | None:
        return self._places.next_of(map(self._name, waiting), [*map(self._name, running)])

    def _name(self, test: str) -> str:
        case = self._by_id[test]
        return test if case is None else case.id


class OnWorker:
    """The plugin on a worker: runs every second test that the controller sends."""

    def __init__(self) -> None:
        self._received = 0
        self._inside = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> bool | None:
        """Pass over placeholders, and tear down after a test what the placeholder does not share.

        The placeholder is not what runs next, so only what all tests share may stay.
        """
        if self._inside:
            return None
        self._received += 1
        if self._received % 2 == 0:
            return True
        if nextitem is None or len({one.path for one in item.session.items}) == 1:
            return None
        self._inside = True
        try:
            done: bool | None = item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
        finally:
            self._inside = False
        return done


def on_worker(config: pytest.Config) -> OnWorker | None:
    """Return the plugin of a worker whose controller sends placeholders."""
    return OnWorker() if getattr(config, "workerinput", {}).get(_MARK) else None


def is_ours(config: pytest.Config) -> bool:
    """Return whether this run's tests are distributed here: by load, to workers of this machine."""
    workers = config.getoption("tx", None) or ()
    on_this_machine = all(
        str(one).rpartition("*")[2].partition("//")[0] == "popen" for one in workers
    )
    return config.getoption("dist", "no") == "load" and on_this_machine


def auto_workers(config: pytest.Config, options: Mapping[str, Any]) -> int | None:
    """Return the number of workers for `-n auto`; None where xdist decides.

    That is where its own variable is set, and where the run cannot be opened, which is told later.
    """
    if os.environ.get(_OWN_NUMBER):
        return None
    try:
        session = open_session(
            Paths.resolve(config, vars(config.option)), options, preset_flag=None, run_id=None
        )
    except HarnessError:
        return None
    try:
        return _workers_for(session)
    finally:
        session.procedure.close()


def _workers_for(session: Session) -> int:
    here = [case for case in session.cases if session.has_device(case)]
    places = Places({case.id: place_of(case, session.device) for case in here})
    needs = [_host_bytes(session, case) for case in here]
    return num_workers(places.num_gpus, places.most_at_once(), needs)


def _host_bytes(session: Session, case: Case) -> int:
    if session.verb != "measured":
        return PREDICTION_BYTES
    return case.num_ranks * ((case.device.budget or 0) + BESIDE_BUDGET_BYTES)
