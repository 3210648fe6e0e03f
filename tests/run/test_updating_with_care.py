"""Updates that lock only what is new, and gains that must be locked."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from projects import Project

pytestmark = pytest.mark.usefixtures("runs_share_a_zygote")
MEASURED = 16
NEW = "--gpu-profile-update=new"


def sizes(project: Project) -> dict[str, int]:
    """Return the largest batch that is locked of each model."""
    profiles = tomllib.loads(project.lock.read_text(encoding="utf-8"))["profile"]
    return {profile["model"]: profile["max_batch_size"] for profile in profiles}


def lock_another(project: Project, size: int) -> None:
    """Lock the matrix's cases, with another batch size than what is measured."""
    project.lock_cases()
    text = project.lock.read_text(encoding="utf-8")
    project.lock.write_text(
        text.replace(f"batch_size = {MEASURED}\n", f"batch_size = {size}\n"), encoding="utf-8"
    )


def test_update_of_the_new_judges_what_was_locked(project: Project) -> None:
    """A case that was never locked is locked; a locked one fails by its bounds, and stays."""
    lock_another(project, 32)
    project.write_matrix("Net", "Scheduled")
    result = project.run("--gpu-profile", NEW)
    result.assert_outcomes(failed=1, passed=1, deselected=1)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    assert {"net": 32, "scheduled": MEASURED} == sizes(project)
    result.stdout.fnmatch_lines(
        ["net-cpu-48MiB-1: max batch 16 (-50.0%) *", "*locked 1 case in profiles/gpu-profile.lock*"]
    )


def test_gain_fails_until_it_is_locked_where_the_matrix_asks_for_it(project: Project) -> None:
    """With `bounds.gain: fail` a larger batch than the locked one fails, and an update locks it."""
    lock_another(project, 8)
    matrix = project.path / "profiles" / "matrix.yaml"
    matrix.write_text(matrix.read_text() + "bounds: {gain: fail}\n")
    result = project.run("--gpu-profile", NEW)
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(
        ["*: max_batch_size 16 is 100.0% above the locked 8, and bounds.gain", "  is fail: lock it"]
    )
    assert {"net": 8} == sizes(project)
    assert pytest.ExitCode.OK == project.run("--gpu-profile", "--gpu-profile-update").ret
    assert {"net": MEASURED} == sizes(project)


def test_update_of_the_new_without_the_flag_is_refused(project: Project) -> None:
    """Like any update, it has no effect in an ordinary run, and says so."""
    result = project.run(NEW)
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stderr.fnmatch_lines(["*--gpu-profile-update has no effect without --gpu-profile*"])


def test_other_updates_are_refused(project: Project) -> None:
    """Only `new` may stand behind the flag."""
    result = project.run("--gpu-profile", "--gpu-profile-update=old")
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stderr.fnmatch_lines(["*--gpu-profile-update: * 'old'*"])
