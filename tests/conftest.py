"""Fixtures shared by the tests that run probes or whole pytest runs."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

# Imported here because pytester forgets the imports of an in-process run, and C extensions do not
# survive a second import.
import matplotlib.backends.backend_agg
import matplotlib.figure
import pytest
from command_line import of_case
from one_zygote import OneZygote
from projects import MIB, WORKLOADS, Project, StartRunner
from simulate_verb import Simulate
from simulated_worlds import Worlds, h100, inside
from torch_server import TorchServer
from warm_zygotes import WarmZygotes, start_new

import harness.page.library
import harness.run.hooks
from harness.devices.cpu import CpuDevice
from harness.devices.nvml import gpus as nvml
from harness.errors import HarnessError
from harness.lockfile.write import update_lock
from harness.probes import open_cases, zygote_process
from harness.probes.runner import ProbeRunner
from harness.simulated.library import library
from harness.simulated.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.protocol.case import WorkloadSpec

assert harness.run.hooks is not None
assert matplotlib.figure is not None
assert matplotlib.backends.backend_agg is not None


# A shell that starts the tests in the background makes them ignore Ctrl-C, and their child
# processes would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Runs of the tests are no steps of GitHub's: what they print is compared.
os.environ.pop("GITHUB_ACTIONS", None)

# Tests with these fixtures start zygotes or pytest runs, as a rule.
_PROBING = {"start", "start_zygote", "net", "ran", "project", "pytester"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start processes, so that the others can be run by themselves."""
    for item in items:
        if _PROBING & {*getattr(item, "fixturenames", ())}:
            item.add_marker("probes")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests that need a GPU where none is visible."""
    if item.get_closest_marker("gpu") is not None:
        try:
            found = bool(nvml.visible_gpus())
        except HarnessError as error:
            pytest.skip(str(error))
        if not found:
            pytest.skip("no GPU is visible here")


def _starter(make: StartRunner, stack: ExitStack, folder: Path) -> StartRunner:
    """Return a function that starts runners on the CPU, to be closed with the stack."""

    def start(
        spec: WorkloadSpec,
        budget: int = 64 * MIB,
        trainer: dict[str, Any] | None = None,
        timeout: float = 120.0,
        global_batch_size: int | None = None,
    ) -> ProbeRunner:
        runner = make(
            spec,
            CpuDevice(budget),
            trainer or {},
            folder / "logs",
            sys_path=[str(WORKLOADS), *sys.path],
            timeout=timeout,
            global_batch_size=global_batch_size,
        )
        return stack.enter_context(runner)

    return start


@pytest.fixture(scope="session", autouse=True)
def warm_zygotes() -> Iterator[WarmZygotes]:
    """Make the zygotes of all tests forks of one Python, which starts when a test needs it."""
    with WarmZygotes() as warm, pytest.MonkeyPatch.context() as patch:
        patch.setattr(zygote_process, "start_program", warm.start)
        yield warm


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep what runs and commands put into the user's cache in one folder, also of their own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def no_pages() -> Iterator[None]:
    """Let runs write no page, which takes a tenth of a second; `pages` is for those that do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness.page, "is_available", lambda: False)
        yield


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs in this process write their page, as they do in use."""
    monkeypatch.setattr(harness.page, "is_available", harness.page.library.is_available)


@pytest.fixture
def new_zygotes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let zygotes begin as they do in use: with a new Python."""
    monkeypatch.setattr(zygote_process, "start_program", start_new)


@pytest.fixture
def start_zygote(tmp_path: Path) -> Iterator[StartRunner]:
    """Return a function that starts runners on the CPU, each with a zygote of its own."""
    with ExitStack() as stack:
        yield _starter(ProbeRunner, stack, tmp_path)


@pytest.fixture(scope="session")
def one_zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneZygote]:
    """Return the zygote that tests on the CPU share, which starts when a test needs it."""
    with OneZygote(tmp_path_factory.mktemp("one_zygote")) as one:
        yield one


@pytest.fixture
def start(tmp_path: Path, one_zygote: OneZygote) -> Iterator[StartRunner]:
    """Return a function that makes runners on the CPU, whose probes come from the one zygote."""
    with ExitStack() as stack:
        yield _starter(one_zygote.runner, stack, tmp_path)


@pytest.fixture
def runs_share_a_zygote(one_zygote: OneZygote, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the cases of runs in this process share the one zygote, if their modules are ours."""
    monkeypatch.setattr(open_cases, "ProbeRunner", one_zygote.runner)


@pytest.fixture
def project(pytester: pytest.Pytester) -> Project:
    """Make a user's project with one case, net-cpu-48MiB-1, which the cap bounds."""
    return Project(pytester)


@pytest.fixture
def lock(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project whose lock holds its one case, and work in it."""
    monkeypatch.chdir(project.path)
    update_lock(project.lock, [of_case()])
    return project.lock


@pytest.fixture(scope="session")
def torch_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServer]:
    """Start a process with torch over a simulated GPU; skip where its library cannot be had."""
    try:
        library()
    except HarnessError as error:
        pytest.skip(str(error))
    world = World.create(tmp_path_factory.mktemp("world") / "world", [h100()])
    with TorchServer(inside(world)) as server:
        yield server


@pytest.fixture
def worlds(tmp_path: Path, torch_server: TorchServer, warm_zygotes: WarmZygotes) -> Worlds:
    """Make worlds of simulated GPUs in the test's folder."""
    return Worlds(tmp_path, torch_server, warm_zygotes)


@pytest.fixture
def simulate(tmp_path: Path) -> Simulate:
    """Return a function that runs a program under `gpu-profile simulate`; skip where none runs."""
    try:
        library()
    except HarnessError as error:
        pytest.skip(str(error))
    return Simulate(tmp_path)
