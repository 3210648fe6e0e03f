"""A run collects profile modules and nothing else, wherever `testpaths` point."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import canned_measurements as canned
import pytest
from projects import make_files

import harness.measure.measuring

if TYPE_CHECKING:
    from projects import Project

IMPORT = "from harness.testing import test_gpu_profile\n"
CASE = "test_gpu_profile[[]net-cpu-48MiB-1[]]"
# Whatever imports one of these stops a run.
BROKEN = {
    "tests/conftest.py": "raise RuntimeError('the tests are not for here')\n",
    "tests/test_other.py": "import no_such_module\n",
    "src/train.py": "import no_such_module\n",
}


@pytest.fixture
def tests_of_its_own(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Make a project with broken tests of its own, and its profile module beside the matrix."""
    (project.path / "test_profiles.py").unlink()
    make_files(
        project.path,
        {**BROKEN, "profiles/test_profiles.py": IMPORT, "pytest.ini": "[pytest]\ntestpaths=tests"},
    )
    monkeypatch.chdir(project.path)
    return project


def collected(project: Project, *arguments: str) -> list[str]:
    """Return the ids of the tests that a run collects; the run must have no error."""
    result = project.run("--gpu-profile", "--collect-only", "-q", *arguments)
    assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED), result.stderr
    return [line for line in result.outlines if "::" in line]


@pytest.mark.parametrize(
    "configuration",
    [
        pytest.param("testpaths = tests", id="testpaths elsewhere"),
        pytest.param("", id="no testpaths"),
        pytest.param("testpaths = nowhere tests/*/", id="testpaths that do not exist"),
        pytest.param("addopts = --doctest-modules --import-mode=importlib", id="doctests"),
    ],
)
def test_other_tests_are_not_imported(tests_of_its_own: Project, configuration: str) -> None:
    """Neither the tests of a project nor their conftest are imported, wherever `testpaths` are."""
    (tests_of_its_own.path / "pytest.ini").write_text(f"[pytest]\n{configuration}\n")
    assert ["profiles/test_profiles.py::test_gpu_profile[net-cpu-48MiB-1]"] == collected(
        tests_of_its_own
    )


@pytest.mark.parametrize(
    ("files", "arguments", "expected"),
    [
        pytest.param({}, ["profiles"], ["profiles/test_profiles.py"], id="a folder"),
        pytest.param({}, ["."], ["profiles/test_profiles.py"], id="the whole project"),
        pytest.param(
            {"checks/test_gpu.py": IMPORT, "checks/test_x.py": "import no_such_module\n"},
            ["checks", "profiles"],
            ["checks/test_gpu.py", "profiles/test_profiles.py"],
            id="two folders",
        ),
        pytest.param(
            {"profiles/test_b.py": IMPORT, "profiles/old/test_c.py": IMPORT},
            ["--ignore=profiles/old"],
            ["profiles/test_b.py", "profiles/test_profiles.py"],
            id="ignored by a flag",
        ),
        pytest.param(
            {
                "profiles/test_b.py": IMPORT,
                "profiles/conftest.py": "collect_ignore = ['test_profiles.py']\n",
            },
            [],
            ["profiles/test_b.py"],
            id="ignored by a conftest",
        ),
        pytest.param(
            {
                "profiles/base.py": "class Base:\n    def test_it(self, gpu_profile): ...\n",
                "profiles/test_derived.py": "from base import Base\nclass TestIt(Base): ...\n",
            },
            ["profiles/test_derived.py"],
            ["profiles/test_derived.py"],
            id="a module that is named",
        ),
        pytest.param(
            {
                "profiles/conftest.py": (
                    "import pytest\n\n@pytest.fixture\ndef tuned(gpu_profile): ...\n"
                ),
                "profiles/test_tuned.py": "def test_it(tuned): ...\n",
            },
            [],
            ["profiles/test_profiles.py", "profiles/test_tuned.py"],
            id="a fixture of a conftest",
        ),
    ],
)
def test_modules_that_are_asked_for_are_collected(
    tests_of_its_own: Project, files: dict[str, str], arguments: list[str], expected: list[str]
) -> None:
    """A folder stands for its profile modules; a module that is named is collected as it is."""
    make_files(tests_of_its_own.path, files)
    found = collected(tests_of_its_own, *arguments)
    assert expected == [test.partition("::")[0] for test in found]


def test_module_is_found_below_rootdir_where_it_is_nowhere_else(tests_of_its_own: Project) -> None:
    """Without a module in `testpaths` or beside the matrix, the whole project is searched."""
    path = tests_of_its_own.path
    (path / "checks").mkdir()
    (path / "profiles" / "test_profiles.py").rename(path / "checks" / "test_gpu.py")
    assert ["checks/test_gpu.py::test_gpu_profile[net-cpu-48MiB-1]"] == collected(tests_of_its_own)


@pytest.mark.parametrize("name", ["src", "profiles"])
def test_run_can_start_in_any_folder(tests_of_its_own: Project, name: str) -> None:
    """From a sub-folder a run finds the same matrix and module as from rootdir."""
    os.chdir(tests_of_its_own.path / name)
    assert 1 == len(collected(tests_of_its_own))


def test_project_below_rootdir_is_run_alone(tests_of_its_own: Project) -> None:
    """In a folder with a matrix of its own, only the module beside that matrix is collected."""
    sub = tests_of_its_own.path / "sub"
    sub.mkdir()
    (sub / "src").mkdir()
    shutil.copytree(tests_of_its_own.path / "profiles", sub / "profiles")
    (tests_of_its_own.path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    os.chdir(sub / "src")
    assert ["sub/profiles/test_profiles.py::test_gpu_profile[net-cpu-48MiB-1]"] == collected(
        tests_of_its_own, "-o", "python_files=test_profiles.py", "--import-mode=importlib"
    )


def test_failure_names_the_command_as_it_is_typed_in_a_sub_folder(
    tests_of_its_own: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that locks a case works where the run was started."""
    monkeypatch.setattr(harness.measure.measuring, "measure_case", canned.measure_case)
    # Without an ini file rootdir is the folder itself, and the module is outside of it.
    (tests_of_its_own.path / "pytest.ini").unlink()
    (tests_of_its_own.path / ".git").mkdir()
    monkeypatch.chdir(tests_of_its_own.path / "src")
    result = tests_of_its_own.run("--gpu-profile")
    result.stdout.fnmatch_lines(
        [f'*pytest --gpu-profile --gpu-profile-update "../profiles/test_profiles.py::{CASE}"']
    )
    assert tests_of_its_own.results.is_dir()


def test_option_of_a_conftest_in_testpaths_is_known(tests_of_its_own: Project) -> None:
    """Where the ini file uses an option of a test folder's conftest, this conftest is loaded."""
    make_files(
        tests_of_its_own.path,
        {
            "pytest.ini": "[pytest]\ntestpaths = tests\naddopts = --fast\n",
            "tests/conftest.py": (
                "def pytest_addoption(parser):\n"
                "    parser.addoption('--fast', action='store_true')\n"
            ),
        },
    )
    assert 1 == len(collected(tests_of_its_own))


def test_profile_module_that_cannot_be_imported_is_an_error(tests_of_its_own: Project) -> None:
    """An error of the profile module itself stops the run, with its message."""
    module = tests_of_its_own.path / "profiles" / "test_profiles.py"
    module.write_text(IMPORT + "import no_such_library\n", encoding="utf-8")
    result = tests_of_its_own.run("--gpu-profile")
    assert pytest.ExitCode.INTERRUPTED == result.ret
    result.stdout.fnmatch_lines(
        ["*ERROR collecting profiles/test_profiles.py*", "*No module named 'no_such_library'"]
    )


def test_workers_collect_the_same(tests_of_its_own: Project) -> None:
    """The workers of xdist import no other tests either."""
    result = tests_of_its_own.run("--gpu-profile", "-n1", "-k", "no_such_case", subprocess=True)
    result.stdout.no_fnmatch_line("*ERROR*")
    result.stdout.fnmatch_lines(["nothing was measured: *"])


def test_project_without_a_profile_module_is_told_what_is_missing(
    tests_of_its_own: Project,
) -> None:
    """The run fails without importing anything, and says what a test module needs."""
    (tests_of_its_own.path / "profiles" / "test_profiles.py").unlink()
    (tests_of_its_own.path / "tests" / "conftest.py").unlink()
    result = tests_of_its_own.run("--gpu-profile")
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    result.stdout.fnmatch_lines(["nothing was measured: *a test module needs*"])
    result.stdout.no_fnmatch_line("*no_such_module*")
