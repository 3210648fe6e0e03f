"""Fixtures shared by the tests that run probes or whole pytest runs."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

# pytester forgets what an in-process run imports; C extensions do not survive a second import.
import matplotlib.backends.backend_agg
import matplotlib.figure
import pytest
from commanding import of_case

import harness.running
from harness import nvml
from harness.devices.cpu import CpuDevice
from harness.errors import HarnessError
from harness.lock_writing import update_lock
from harness.probe import ProbeRunner

from support import MIB, TESTS, Project, StartRunner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

assert harness.running is not None
assert matplotlib.figure is not None
assert matplotlib.backends.backend_agg is not None


# A shell that starts the tests in the background has them ignore Ctrl-C, and so would all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Fixtures whose tests start zygotes or pytest runs, as a rule.
_PROBING = {"start", "net", "ran", "project", "pytester"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start processes, so that the others can be run by themselves."""
    for item in items:
        if _PROBING & {*getattr(item, "fixturenames", ())}:
            item.add_marker("probes")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Run tests that need a GPU wherever there is one."""
    if item.get_closest_marker("gpu") is not None:
        try:
            found = bool(nvml.visible_gpus())
        except HarnessError as error:
            pytest.skip(str(error))
        if not found:
            pytest.skip("no GPU is visible here")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartRunner]:
    """Start runners on the CPU; they are closed with the test."""
    with ExitStack() as stack:

        def start(
            spec: dict[str, Any],
            budget: int = 64 * MIB,
            trainer: dict[str, Any] | None = None,
            timeout: float = 120.0,
        ) -> ProbeRunner:
            runner = ProbeRunner(
                spec,
                CpuDevice(budget),
                trainer or {},
                tmp_path / "logs",
                sys_path=[str(TESTS), *sys.path],
                timeout=timeout,
            )
            return stack.enter_context(runner)

        yield start


@pytest.fixture
def project(pytester: pytest.Pytester) -> Project:
    """Make a user's project with one case that the cap bounds: net-cpu-48MiB-1."""
    return Project(pytester)


@pytest.fixture
def lock(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project whose lock holds its one case, and work in it."""
    monkeypatch.chdir(project.path)
    update_lock(project.lock, [of_case()])
    return project.lock
