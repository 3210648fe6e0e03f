"""Checks the matrix, the lockfile and the folder of results of the project in this folder."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

from harness.check.locked_cases import describes, recipe_change
from harness.doctor.findings import Finding, run_child
from harness.lockfile.profiles import read_lock
from harness.run.results_folder import refuse_project_folder
from harness.units import format_bytes
from harness.wording import RELOCK, listed, shown_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.doctor.findings import Project
    from harness.lockfile.profiles import Lock

_LITTLE_BYTES, _LEAST_BYTES = 1 << 30, 64 << 20
_DRIVER = "gpu-profile"
_SET_DRIVER = f'`git config merge.{_DRIVER}.driver "gpu-profile merge --base %O --lock %A %B"`, once per clone'


def matrix(project: Project) -> Iterator[Finding]:
    """Check that the matrix is there and right; its class paths are looked up, not imported."""
    paths = project.paths
    if paths.searched:
        yield Finding(
            "note",
            f"no profiles/matrix.yaml in {', '.join(map(str, paths.searched))}",
            "let `gpu-profile init` write one, or go to the project that has one",
        )
        return
    cases = paths.cases()
    some = f"{len(cases)} case{'s' if len(cases) > 1 else ''}"
    yield Finding(
        "ok",
        f"{shown_path(paths.matrix)}: {some}, read without a mistake; "
        "`gpu-profile check` builds their workloads, which doctor does not",
    )


def lock(project: Project) -> Iterator[Finding]:
    """Check that the lockfile can be read, and compare it with the matrix; build no workload."""
    if project.folder is None or project.paths.searched:
        return  # as the check of the matrix tells
    paths = project.paths
    found = read_lock(paths.lock)
    name = shown_path(paths.lock)
    if not found.exists:
        yield Finding("note", f"{name}: not there: nothing is locked yet", _relock(project))
        return
    yield Finding("ok", f"{name}: {len(found)} profile{'' if len(found) == 1 else 's'}")
    if project.cases:
        yield from _compare(found, project, name)
    yield from _merge_driver(paths.lock)


def results(project: Project) -> Iterator[Finding]:
    """Check that results can be written, and that there is room for them."""
    if project.folder is None:
        return  # as the check of the matrix tells
    folder = project.paths.results
    refuse_project_folder(folder, project.paths.root)
    standing = folder.absolute()
    while not standing.exists() and standing != standing.parent:
        standing = standing.parent
    name = shown_path(folder)
    if not standing.is_dir() or not os.access(standing, os.W_OK | os.X_OK):
        what = "cannot be written to" if standing.is_dir() else "is no folder"
        yield Finding(
            "wrong",
            f"{name}: {shown_path(standing)} {what}, so a run has no place for its results",
            "make it a folder that this user may write to, or name another with --gpu-profile-dir",
        )
        return
    free = shutil.disk_usage(standing).free
    left = f"{name}: {format_bytes(free)} of disk left"
    if free < _LITTLE_BYTES:
        yield Finding(
            "wrong" if free < _LEAST_BYTES else "note",
            left,
            "remove what is not needed there, or name another folder with --gpu-profile-dir",
        )
    else:
        yield Finding("ok", left)


def _compare(found: Lock, project: Project, name: str) -> Iterator[Finding]:
    """Tell what is missing, stale by its recipe, or orphaned."""
    cases = {case.id: case for case in project.cases}
    here = {
        case.id: [one for one in found.of_case(case.id) if describes(one, case)]
        for case in project.cases
    }
    missing = [case_id for case_id, profiles in here.items() if not profiles]
    stale = [
        case_id
        for case_id, profiles in here.items()
        if any(recipe_change(profile, cases[case_id]) is not None for profile in profiles)
    ]
    orphaned = [
        profile.case_id
        for profile in found
        if profile.case_id not in cases or not describes(profile, cases[profile.case_id])
    ]
    for what, ids, remedy in (
        ("never locked", missing, _relock(project)),
        ("locked with another recipe", stale, f"{_relock(project)}; `{_check(project)}` says why"),
        ("no case of the matrix", orphaned, f"`gpu-profile prune{project.paths.verb_flags}`"),
    ):
        if ids:
            yield Finding("note", f"{name}: {len(ids)} {what}: {listed(ids)}", remedy)
    if not missing and not stale and not orphaned:
        yield Finding(
            "ok",
            "every case is locked by today's recipe "
            f"(`{_check(project)}` builds the workloads and compares them, too)",
        )


def _merge_driver(path: Path) -> Iterator[Finding]:
    """Check that git merges the lockfile by a driver that this clone has, where it names one."""
    folder = path.parent
    attribute = _git(folder, "check-attr", "merge", "--", path.name)
    if attribute is None or not attribute.endswith(f": merge: {_DRIVER}"):
        return
    driver = _git(folder, "config", "--get", f"merge.{_DRIVER}.driver")
    if not driver:
        yield Finding(
            "note",
            f".gitattributes names the merge driver {_DRIVER}, and this clone does not have it: git "
            "merges the lockfile as text",
            _SET_DRIVER,
        )
    elif (program := _first_word(driver)) is None or shutil.which(program) is None:
        yield Finding(
            "note", f"git's merge driver is {driver}, which is no program on PATH", _SET_DRIVER
        )
    else:
        yield Finding("ok", f"git's merge driver is {driver}")


def _first_word(command: str) -> str | None:
    try:
        return next(iter(shlex.split(command)), None)
    except ValueError:  # a quote without its end
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints; None without git, and outside of its repositories."""
    program = shutil.which("git")
    if program is None:
        return None
    try:
        done = run_child([program, *arguments], folder=folder)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if not done.stderr else None


def _relock(project: Project) -> str:
    return f"`{RELOCK}{project.paths.pytest_flags}`"


def _check(project: Project) -> str:
    return f"gpu-profile check{project.paths.verb_flags}"
