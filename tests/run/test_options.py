"""Flags, ini keys and selections of a run."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from projects import Project

CASE = "net-cpu-48MiB-1"


def test_without_the_flag_profile_tests_are_deselected_and_the_matrix_is_not_read(
    project: Project,
) -> None:
    """An ordinary run does not read the matrix: even a broken one goes unnoticed."""
    (project.path / "profiles" / "matrix.yaml").write_text("version: [", encoding="utf-8")
    result = project.run()
    result.assert_outcomes(passed=1, deselected=1)
    assert not project.results.exists()


def test_with_the_flag_only_profile_tests_run(project: Project) -> None:
    """Other tests are deselected."""
    result = project.run("--gpu-profile", "--collect-only", "-q")
    result.stdout.fnmatch_lines(
        [f"test_profiles.py::test_gpu_profile[[]{CASE}[]]", "*1 deselected*"]
    )
    result.stdout.no_fnmatch_line("*test_other*")


def test_collect_only_measures_nothing_and_succeeds(project: Project) -> None:
    """A run that only lists the tests succeeds and leaves no results."""
    result = project.run("--gpu-profile", "--collect-only")
    assert pytest.ExitCode.OK == result.ret
    assert not project.results.exists()


def test_update_without_the_flag_is_refused(project: Project) -> None:
    """A flag without effect is a usage error that names the missing flag."""
    result = project.run("--gpu-profile-update")
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stderr.fnmatch_lines(["*--gpu-profile-update has no effect without --gpu-profile*"])


@pytest.mark.parametrize(
    ("flag", "value"), [("changed-since", "REF"), ("executor", "NAME"), ("budget", "DURATION")]
)
def test_empty_value_is_refused(project: Project, flag: str, value: str) -> None:
    """It comes from a variable that is not set, and without it the run would do something else."""
    result = project.run("--gpu-profile", f"--gpu-profile-{flag}=")
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    told = f"*--gpu-profile-{flag} is empty: give it a {value}, or leave it out"
    result.stderr.fnmatch_lines([told])


def test_every_option_has_an_ini_key(project: Project) -> None:
    """The ini file alone can start a run and name its paths, relative to rootdir."""
    (project.path / "profiles").rename(project.path / "conf")
    (project.path / "pytest.ini").write_text(
        """
[pytest]
gpu_profile = true
gpu_profile_update = true
gpu_profile_matrix = conf/matrix.yaml
gpu_profile_lock = locks/team.lock
gpu_profile_dir = out
""",
        encoding="utf-8",
    )
    (project.path / "locks").mkdir()
    assert pytest.ExitCode.OK == project.run().ret
    assert (project.path / "locks" / "team.lock").exists()
    assert (project.path / "out" / "report.json").exists()


def test_flags_override_ini_keys(project: Project) -> None:
    """A path on the command line overrides that of the ini file."""
    (project.path / "pytest.ini").write_text(
        "[pytest]\ngpu_profile_matrix = nowhere.yaml\n", encoding="utf-8"
    )
    listed = project.run(
        "--gpu-profile", "--collect-only", "--gpu-profile-matrix", "profiles/matrix.yaml"
    )
    assert pytest.ExitCode.OK == listed.ret
    missing = project.run("--gpu-profile", "--collect-only")
    assert pytest.ExitCode.USAGE_ERROR == missing.ret
    missing.stderr.fnmatch_lines(["*nowhere.yaml:1: cannot be read: No such file or directory*"])


def test_all_mistakes_of_a_matrix_are_told_before_anything_runs(project: Project) -> None:
    """A usage error lists every mistake with its line."""
    matrix = project.path / "profiles" / "matrix.yaml"
    text = (
        matrix.read_text(encoding="utf-8")
        .replace("zoo.Net", "zoo.Nett")
        .replace("budget: 48MiB", "budget: lots")
    )
    matrix.write_text(text, encoding="utf-8")
    result = project.run("--gpu-profile")
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stderr.fnmatch_lines(
        ["*matrix.yaml:7: *zoo has no Nett; did you mean Net?", "*matrix.yaml:9: *lots*"]
    )


def test_label_that_fits_no_device_is_skipped_and_nothing_measured_fails(project: Project) -> None:
    """A case whose GPU is not here is skipped with the reason; a run of such cases alone fails."""
    project.write_matrix(gpus="h200")
    result = project.run("--gpu-profile")
    result.assert_outcomes(skipped=1, deselected=1)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    result.stdout.fnmatch_lines(["nothing was measured: 1 case skipped: needs NVIDIA H200*"])
    assert "skipped" == project.report()["net-h200-1"]["status"]


def test_selection_that_leaves_nothing_fails(project: Project) -> None:
    """A run whose selection leaves no profile test fails."""
    result = project.run("--gpu-profile", "-k", "no_such_case")
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    result.stdout.fnmatch_lines(["nothing was measured: *"])


def test_idle_plugin_imports_nothing_heavy() -> None:
    """Loading the plugin imports neither torch nor Lightning, pynvml, pydantic or yaml."""
    code = (
        "import sys, pytest; before = set(sys.modules); import harness.plugin;"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "['harness', 'harness._lazy', 'harness.plugin']" == done.stdout.strip()
