"""A plugin of pytest that adds the simulated cluster as an executor, and times the parts of a run.

The times are those of the controller's processor,
without what the simulation itself takes.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.fleet.fleet import Fleet
from harness.run.fleet import opening
from simulated_fleet.cluster import WEATHERS, SimulatedCluster
from simulated_fleet.values import Values, packed_files

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from harness.fleet.executor import Executor

NAME = "simulated"
"""The name of the executor."""
RUN, WEATHER, SEED = "FLEET_RUN", "FLEET_WEATHER", "FLEET_SEED"
"""Variables: the number of the run, a name of `WEATHERS`, and another seed for it."""
STOP, OUT = "FLEET_STOP", "FLEET_OUT"
"""Variables: `SIGTERM:20` gets the process that signal behind the 20th case; a file for times."""

_CLUSTERS: list[SimulatedCluster] = []
_SECONDS: dict[str, float] = {}
_last = 0.0


def _open(root: Path, excluded: tuple[str, ...]) -> Executor:
    del root, excluded
    weather = WEATHERS[os.environ.get(WEATHER, "fair")]
    if SEED in os.environ:
        weather = replace(weather, seed=int(os.environ[SEED]))
    values = Values(int(os.environ.get(RUN, "0")))
    cluster = SimulatedCluster(values, weather, files=packed_files())
    if STOP in os.environ:
        name, _, number = os.environ[STOP].partition(":")
        cluster.stop = (signal.Signals[name], int(number))
    _CLUSTERS.append(cluster)
    return cluster


def _fleet(executor: SimulatedCluster, wait_seconds: float) -> Fleet:
    return Fleet(executor, wait_seconds, executor.clock)


def _lap(name: str) -> None:
    """Add the time since the last lap to a part of the run."""
    global _last  # noqa: PLW0603 - a run has one clock
    now = time.process_time() - sum(one.simulating for one in _CLUSTERS)
    _SECONDS[name] = _SECONDS.get(name, 0.0) + now - _last
    _last = now


def _timed(name: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    _lap("other")
    try:
        return call(*args, **kwargs)
    finally:
        _lap(name)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Add the executor, before the matrix is looked for."""
    opening.EXECUTORS[NAME] = _open
    vars(opening)["Fleet"] = _fleet  # the real one, by the virtual clock
    _lap("start of pytest")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Time what the session writes."""
    run: Any = config.pluginmanager.get_plugin("gpu_profile_run")
    session = run.session
    for name, part in (
        ("write_results", "report.json, report.md, candidate.lock"),
        ("write_lock", "lockfile"),
        ("write_page", "report.html"),
    ):
        setattr(session, name, partial(_timed, part, getattr(session, name)))
    _lap("matrix and lock")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish() -> None:
    """Note that the tests are collected."""
    _lap("collection")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop() -> Generator[None, object, object]:
    """Time the loop in which cases end, and the header before it."""
    _lap("estimate")
    done = yield
    _lap("cases: order, answers, bounds, tests")
    return done


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary() -> Generator[None]:
    """Time the end of the terminal."""
    _lap("other")
    yield
    _lap("terminal")


def pytest_unconfigure() -> None:
    """Write what was measured."""
    _lap("other")
    (cluster,) = _CLUSTERS
    tally = cluster.tally
    found = {
        "seconds": {name: round(value, 2) for name, value in _SECONDS.items()},
        "controller_seconds": round(sum(_SECONDS.values()), 1),
        "simulating_seconds": round(cluster.simulating, 1),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "makespan_seconds": tally.ended,
        "busy_seconds": tally.busy,
        "tasks": tally.tasks,
        "lost_tasks": tally.lost,
        "failures_of_nodes": tally.failures_of_nodes,
    }
    if OUT in os.environ:
        Path(os.environ[OUT]).write_text(json.dumps(found, indent=1), encoding="utf-8")
