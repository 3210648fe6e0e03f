"""The paths that a run reads and writes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import pytest

from harness.run.nearest_matrix import search_upward
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
            searched=(root,),
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


def made(folder: Path, *names: str) -> Path:
    """Make files below a folder and return it."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("", encoding="utf-8")
    return folder.resolve()


class Tree(NamedTuple):
    """Files of a tree, where pytest starts in it and finds its rootdir, and where the matrix is."""

    files: list[str]
    start: str
    root: str
    expected: str | None
    """The folder that holds `profiles`; None where no matrix is found."""
    is_project: bool = True


@pytest.mark.parametrize(
    "tree",
    [
        pytest.param(Tree(["profiles/matrix.yaml"], ".", ".", "."), id="here"),
        pytest.param(Tree(["profiles/matrix.yaml", "src/a/b.py"], "src/a", ".", "."), id="above"),
        pytest.param(
            Tree(
                ["profiles/matrix.yaml", "sub/profiles/matrix.yaml", "sub/src/b.py"],
                "sub/src",
                ".",
                "sub",
            ),
            id="the nearest of two",
        ),
        pytest.param(
            Tree(["profiles/matrix.yaml", "src/b.py"], "src", "src", ".", is_project=False),
            id="above a rootdir without an ini file",
        ),
        pytest.param(
            Tree(["sub/profiles/matrix.yaml"], ".", "sub", "sub"), id="started above rootdir"
        ),
        pytest.param(
            Tree(["profiles/gpu-profile.lock", "src/b.py"], "src", ".", "."), id="a lock alone"
        ),
        pytest.param(
            Tree(["profiles/matrix.yaml", "sub/pytest.ini"], "sub", "sub", None), id="own project"
        ),
        pytest.param(
            Tree(
                ["profiles/matrix.yaml", "sub/.git", "sub/src/b.py"],
                "sub/src",
                "sub/src",
                None,
                is_project=False,
            ),
            id="own repository",
        ),
        pytest.param(Tree(["src/profiles/test_it.py"], "src", ".", None), id="nowhere"),
    ],
)
def test_matrix_is_searched_upward(tmp_path: Path, tree: Tree) -> None:
    """The nearest matrix is found in the working directory or above, within the project."""
    base = made(tmp_path, ".git", *tree.files)
    root = (base / tree.root).resolve()
    nearest = search_upward((base / tree.start).resolve(), root, is_project=tree.is_project)
    wanted = root if tree.expected is None else (base / tree.expected).resolve()
    assert (wanted / "profiles" / "matrix.yaml", wanted) == nearest[:2]
    assert nearest.matrix.exists() == (nearest.searched == ())


def test_matrix_of_another_user_above_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A matrix that another user put above the project is not found: it would run their code."""
    base = made(tmp_path, ".git", "profiles/matrix.yaml", "mine/src/b.py")
    try:
        os.chown(base / "profiles" / "matrix.yaml", 12345, 12345)
    except PermissionError:
        pytest.skip("only root gives files away")
    assert search_upward(base / "mine", base / "mine", is_project=False).searched


def test_matrix_that_is_no_file_is_found(tmp_path: Path) -> None:
    """What stands in the place of the matrix is told when it is read, and no other one is taken."""
    base = made(tmp_path, ".git", "profiles/matrix.yaml", "mine/profiles/lock")
    os.mkfifo(base / "mine" / "profiles" / "matrix.yaml")
    nearest = search_upward(base / "mine", base / "mine", is_project=False)
    assert (base / "mine" / "profiles" / "matrix.yaml", ()) == (nearest.matrix, nearest.searched)


def test_where_a_matrix_was_searched_is_told(pytester: pytest.Pytester) -> None:
    """Without a matrix the error lists the folders, and what to do."""
    made(pytester.path, ".git", "src/b.py")
    os.chdir(pytester.path / "src")
    result = pytester.runpytest_inprocess("--gpu-profile")
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stderr.fnmatch_lines(
        [f"*there is no profiles/matrix.yaml in {pytester.path}/src and {pytester.path}. Write *"]
    )


def test_project_below_rootdir_has_its_own_modules(pytester: pytest.Pytester) -> None:
    """The folder that holds a nested project's `profiles` is on the module path, after rootdir."""
    made(pytester.path, "pytest.ini", "sub/profiles/matrix.yaml", "sub/src/b.py")
    os.chdir(pytester.path / "sub" / "src")
    config = pytester.parseconfigure()
    paths = Paths.resolve(config, FLAGS)
    root = pytester.path
    assert tuple(map(str, (root, root / "sub", root / "sub" / "profiles"))) == paths.module_path
    assert root / ".gpu-profile" == paths.results
