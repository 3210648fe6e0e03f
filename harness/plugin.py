"""The pytest plugin: its options, the `gpu_profile` fixture, and hooks that start a run.

Every pytest run loads it where the package is installed. It therefore imports pytest alone, and
everything else only under `--gpu-profile`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from harness.held_memory.marked_test import MarkedTest
    from harness.run.collection import Collection
    from harness.run.hooks import Run

_FIXTURE = "gpu_profile"
_RUN: pytest.StashKey[Run] = pytest.StashKey()
_COLLECTION: pytest.StashKey[Collection] = pytest.StashKey()
_MARKED: pytest.StashKey[MarkedTest] = pytest.StashKey()

_NEW = "new"
"""The value of `gpu_profile_update` that locks only what was never locked."""

# Name of the ini key, which is also the flag's: help, default, metavar. A boolean default marks a
# switch.
_OPTIONS: dict[str, tuple[str, str | bool, str]] = {
    "gpu_profile": ("run the profile tests and no others", False, ""),
    "gpu_profile_update": (
        "write the values of this run's cases into the lockfile, and keep all others",
        False,
        "",
    ),
    "gpu_profile_predict": (
        "predict the cases of GPUs instead of measuring them, on any machine",
        False,
        "",
    ),
    "gpu_profile_preset": (
        "how much to do: quick, thorough, production (measure nothing, check the lock), or none",
        "",
        "PRESET",
    ),
    "gpu_profile_matrix": (
        "path of the matrix (default: the nearest profiles/matrix.yaml, here or above)",
        "",
        "PATH",
    ),
    "gpu_profile_lock": (
        "path of the lockfile (default: gpu-profile.lock beside the matrix)",
        "",
        "PATH",
    ),
    "gpu_profile_dir": (
        "folder for the results of a run (default: .gpu-profile in rootdir)",
        "",
        "PATH",
    ),
    "gpu_profile_budget": (
        "wall time of the run, such as 30m: what changed comes first, what does not fit is skipped",
        "",
        "DURATION",
    ),
    "gpu_profile_changed_since": (
        "run only the cases that differ from the lockfile of this commit",
        "",
        "REF",
    ),
    "gpu_profile_executor": (
        "measure all cases at once on the nodes of a cluster: ray",
        "",
        "NAME",
    ),
    "gpu_profile_share": (
        "let small cases run on one GPU side by side, under xdist or in several runs",
        False,
        "",
    ),
    "gpu_profile_wait": (
        "seconds to wait for GPU memory that others hold (60), and for other runs (3600)",
        "",
        "SECONDS",
    ),
}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare every option twice: as a flag, and as an ini key that the flag overrides."""
    group = parser.getgroup("gpu-profile", "batch size and learning rate as committed facts")
    for name, (text, default, metavar) in _OPTIONS.items():
        flag = _flag(name)
        if isinstance(default, bool):
            group.addoption(flag, action="store_true", default=None, dest=name, help=text)
            parser.addini(name, text, type="bool", default=default)
        else:
            group.addoption(flag, metavar=metavar, default=None, dest=name, help=text)
            parser.addini(name, text, default=default)
    # An option of its own, with `=new` in its name: if `new` were a value of the flag above, that
    # would take the path of a test behind it as one.
    group.addoption(
        "--gpu-profile-update=new",
        action="store_const",
        const=_NEW,
        default=None,
        dest="gpu_profile_update",
        help="write only the values of cases that were never locked; judge all others",
    )


# Before pytest loads the conftests of `testpaths`, which may be slow or broken.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: Sequence[str]
) -> Generator[None]:
    """Find the profile modules under `--gpu-profile`: a run needs no other part of a project."""
    given = early_config.known_args_namespace.gpu_profile
    if early_config.getini("gpu_profile") if given is None else given:
        from harness.run.collection import Collection  # noqa: PLC0415 - an idle plugin is free
        from harness.run.paths import Paths  # noqa: PLC0415

        paths = Paths.resolve(early_config, vars(early_config.known_args_namespace))
        found = Collection(early_config, paths.matrix)
        found.load_conftests_of_modules(parser, args)
        early_config.stash[_COLLECTION] = found
    yield


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark, and the run under `--gpu-profile`; refuse flags that need it."""
    config.addinivalue_line(
        "markers",
        "gpu_memory(limit): fails the test when torch's peak of GPU memory exceeds the limit, such "
        'as "2 GiB", and names the lines that held it',
    )
    for name, (_, _, metavar) in _OPTIONS.items():
        if config.getoption(name) == "":
            # Such as a variable of a CI system that is not set: the run would do something else.
            raise pytest.UsageError(f"{_flag(name)} is empty: give it a {metavar}, or leave it out")
    if not _option(config, "gpu_profile"):
        # The ini key gpu_profile_predict may stay set for other runs. gpu_profile_update may not:
        # locking is asked for each time.
        for flag, given in (
            ("update", _option(config, "gpu_profile_update")),
            ("predict", config.getoption("gpu_profile_predict")),
            ("preset", config.getoption("gpu_profile_preset")),
            ("budget", config.getoption("gpu_profile_budget")),
            ("executor", config.getoption("gpu_profile_executor")),
            ("share", config.getoption("gpu_profile_share")),
            ("changed-since", config.getoption("gpu_profile_changed_since")),
        ):
            if given:
                raise pytest.UsageError(
                    f"--gpu-profile-{flag} has no effect without --gpu-profile: add it"
                )
        return
    from harness.run.hooks import Run  # noqa: PLC0415 - an idle plugin must cost nothing
    from harness.run.showing_progress import ShownProgress  # noqa: PLC0415 - as above

    config.stash[_RUN] = run = Run(config, {name: _option(config, name) for name in _OPTIONS})
    config.pluginmanager.register(run, "gpu_profile_run")
    config.pluginmanager.register(ShownProgress(config, run), "gpu_profile_progress")
    if (collection := config.stash.get(_COLLECTION, None)) is not None:
        collection.restrict()


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Return the workers of `-n auto` under `--gpu-profile`: one for each GPU that a case names."""
    if not _option(config, "gpu_profile"):
        return None
    from harness.run.distributing import auto_workers  # noqa: PLC0415 - an idle plugin is free

    return auto_workers(config, {name: _option(config, name) for name in _OPTIONS})


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what is no profile module: nothing of it is imported."""
    collection = config.stash.get(_COLLECTION, None)
    return True if collection is not None and collection.is_other(collection_path) else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize every test that uses the fixture with the matrix's cases."""
    if _FIXTURE not in metafunc.fixturenames:
        return
    run = metafunc.config.stash.get(_RUN, None)
    if run is None:
        # A single item, deselected below: a run without --gpu-profile does not read the matrix.
        metafunc.parametrize(_FIXTURE, [None], indirect=True, ids=["not-run"])
    else:
        cases = run.session.cases
        metafunc.parametrize(_FIXTURE, cases, indirect=True, ids=[case.id for case in cases])


# First, so that other plugins order or shard only the remaining tests.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep only the profile tests under `--gpu-profile`, and only the others without it."""
    wanted = _RUN in config.stash
    kept: list[pytest.Item] = []
    dropped: list[pytest.Item] = []
    for item in items:
        is_profile = _FIXTURE in getattr(item, "fixturenames", ())
        (kept if is_profile == wanted else dropped).append(item)
    if dropped:
        items[:] = kept
        config.hook.pytest_deselected(items=dropped)


# First, so that what fixtures take counts.
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin to measure the GPU memory of a test with the mark `gpu_memory`."""
    mark = item.get_closest_marker("gpu_memory")
    if mark is not None:
        from harness.errors import HarnessError  # noqa: PLC0415 - an idle plugin is free
        from harness.held_memory import marked_test  # noqa: PLC0415 - it imports torch

        try:
            limit = marked_test.limit_of(mark.args, mark.kwargs)
        except HarnessError as error:
            pytest.fail(str(error), pytrace=False)
        if not marked_test.sees_gpu():
            pytest.skip(marked_test.NO_GPU)
        item.stash[_MARKED] = marked_test.MarkedTest(limit)
        item.stash[_MARKED].start()


# Last, so that what others do around a test does not count.
@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Fail a test that took more GPU memory than its mark allows; say what held it at an error."""
    marked = item.stash.get(_MARKED, None)
    if marked is None:
        return (yield)
    try:
        yield
    except Exception as error:
        if marked.ran_out(error):
            item.add_report_section("call", "GPU memory", "\n".join(marked.holders()))
        raise
    finally:
        item.user_properties.append(("gpu_memory_peak_bytes", max(marked.peaks)))
    if (excess := marked.excess()) is not None:
        pytest.fail(excess, pytrace=False)
    return None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """End the measurement of a marked test."""
    if (marked := item.stash.get(_MARKED, None)) is not None:
        marked.stop()
    yield


@pytest.fixture
def gpu_profile(request: pytest.FixtureRequest) -> object:
    """One case of the matrix: its `.case`, `.locked`, `.measurement` and `.assert_within_bounds()`.

    The measurement is taken on first use, once per case and run.
    """
    return request.config.stash[_RUN].open(request.param, request.node)


def _option(config: pytest.Config, name: str) -> str | bool:
    """Return the flag's value, or else the ini key's, or else the default."""
    value: str | bool | None = config.getoption(name)
    if value is not None:
        return value
    ini: str | bool = config.getini(name)
    return ini
