"""The paths that a run reads and writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.run.paths import Paths

if TYPE_CHECKING:
    from pathlib import Path

FLAGS: dict[str, str | None] = {
    "gpu_profile_matrix": None,
    "gpu_profile_lock": None,
    "gpu_profile_dir": None,
}


@pytest.fixture
def config(pytester: pytest.Pytester) -> pytest.Config:
    """Make the configuration of a pytest that was started below its rootdir."""
    pytester.makeini("[pytest]\ngpu_profile_dir = results")
    below = pytester.mkdir("below")
    return pytester.parseconfigure("--rootdir", str(pytester.path), str(below))


def test_ini_keys_and_defaults_start_from_rootdir(config: pytest.Config) -> None:
    """Paths of ini keys and defaults are below rootdir; the lockfile is beside the matrix."""
    paths, root = Paths.resolve(config, FLAGS), config.rootpath
    assert (
        Paths(
            matrix=root / "profiles" / "matrix.yaml",
            lock=root / "profiles" / "gpu-profile.lock",
            results=root / "results",
            root=root,
        )
        == paths
    )


def test_flags_start_from_where_pytest_was_started(config: pytest.Config) -> None:
    """A flag's path is relative to the working directory, and the lockfile is beside its matrix."""
    paths = Paths.resolve(config, FLAGS | {"gpu_profile_matrix": "mine/matrix.yaml"})
    here = config.invocation_params.dir
    assert (here / "mine" / "matrix.yaml", here / "mine" / "gpu-profile.lock") == (
        paths.matrix,
        paths.lock,
    )


def test_modules_are_looked_for_in_rootdir_and_beside_the_matrix(tmp_path: Path) -> None:
    """Workloads in rootdir and beside the matrix can be imported without further settings."""
    paths = Paths(tmp_path / "p" / "matrix.yaml", tmp_path / "lock", tmp_path / "out", tmp_path)
    assert (str(tmp_path), str(tmp_path / "p")) == paths.module_path
    assert {*paths.module_path} <= {*paths.surroundings.sys_path}


def test_commands_repeat_the_flags_of_this_run(config: pytest.Config) -> None:
    """What a failure advises reads the same files; a path with spaces is quoted."""
    flags = {"gpu_profile_matrix": "my matrix.yaml", "gpu_profile_lock": "m.lock"}
    paths = Paths.resolve(config, FLAGS | flags)
    assert " --gpu-profile-matrix 'my matrix.yaml' --gpu-profile-lock m.lock" == paths.pytest_flags
    assert " --matrix 'my matrix.yaml' --lock m.lock" == paths.verb_flags
    assert ("", "") == (
        Paths.resolve(config, FLAGS).pytest_flags,
        Paths.resolve(config, FLAGS).verb_flags,
    )
