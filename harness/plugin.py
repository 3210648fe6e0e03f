"""pytest's side: options, the `gpu_profile` fixture, and hooks that hand over to the session.

Loaded by every pytest run of an environment that has the package, so it imports nothing that is not there
already; everything else waits for `--gpu-profile`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness.running import Run

_FIXTURE = "gpu_profile"
_RUN: pytest.StashKey[Run] = pytest.StashKey()

# Flag without its dashes, as the ini key also: help, default, what the flag takes. True and False mark the switches.
_OPTIONS: dict[str, tuple[str, str | bool, str]] = {
    "gpu_profile": ("run the profile tests, and only those", False, ""),
    "gpu_profile_update": ("write what was measured into the lockfile: measured cases only", False, ""),
    "gpu_profile_predict": (
        "predict the cases of GPUs, on any machine, in place of measuring them",
        False,
        "",
    ),
    "gpu_profile_matrix": ("path of the matrix", "profiles/matrix.yaml", "PATH"),
    "gpu_profile_lock": ("path of the lockfile (default: gpu-profile.lock beside the matrix)", "", "PATH"),
    "gpu_profile_dir": ("where a run leaves its results", ".gpu-profile", "PATH"),
    "gpu_profile_wait": ("how long to wait for GPU memory that others hold", "60", "SECONDS"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare every option twice: as a flag, and as an ini key that the flag overrides."""
    group = parser.getgroup("gpu-profile", "batch size and learning rate as committed facts")
    for name, (text, default, metavar) in _OPTIONS.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(default, bool):
            group.addoption(flag, action="store_true", default=None, dest=name, help=text)
            parser.addini(name, text, type="bool", default=default)
        else:
            group.addoption(flag, metavar=metavar, default=None, dest=name, help=text)
            parser.addini(name, text, default=default)


def pytest_configure(config: pytest.Config) -> None:
    """Start a run when one was asked for."""
    if not _option(config, "gpu_profile"):
        # An ini file may choose between measuring and predicting for good; nothing is locked by itself.
        for flag, given in (
            ("update", _option(config, "gpu_profile_update")),
            ("predict", config.getoption("gpu_profile_predict")),
        ):
            if given:
                raise pytest.UsageError(f"--gpu-profile-{flag} has no effect without --gpu-profile: add it")
        return
    from harness.running import Run  # noqa: PLC0415 - an idle plugin must cost nothing

    config.stash[_RUN] = run = Run(config, {name: _option(config, name) for name in _OPTIONS})
    config.pluginmanager.register(run, "gpu_profile_run")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize every test that uses the fixture with the matrix's cases."""
    if _FIXTURE not in metafunc.fixturenames:
        return
    run = metafunc.config.stash.get(_RUN, None)
    if run is None:
        # One item that will be deselected: reading the matrix is for runs that use it.
        metafunc.parametrize(_FIXTURE, [None], indirect=True, ids=["not-run"])
    else:
        cases = run.session.cases
        metafunc.parametrize(_FIXTURE, cases, indirect=True, ids=[case.id for case in cases])


# Before other plugins order or shard what is left.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the profile tests under --gpu-profile, and all the others without it."""
    wanted = _RUN in config.stash
    kept: list[pytest.Item] = []
    dropped: list[pytest.Item] = []
    for item in items:
        is_profile = _FIXTURE in getattr(item, "fixturenames", ())
        (kept if is_profile == wanted else dropped).append(item)
    if dropped:
        items[:] = kept
        config.hook.pytest_deselected(items=dropped)


@pytest.fixture
def gpu_profile(request: pytest.FixtureRequest) -> object:
    """One case of the matrix: its `.case`, `.locked`, `.measurement` and `.assert_within_bounds()`.

    The measurement is taken on first use, once per case and run.
    """
    return request.config.stash[_RUN].open(request.param, request.node.nodeid)


def _option(config: pytest.Config, name: str) -> str | bool:
    """Return the flag's value, then the ini key's, then the default."""
    value: str | bool | None = config.getoption(name)
    if value is not None:
        return value
    ini: str | bool = config.getini(name)
    return ini
