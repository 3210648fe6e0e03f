"""The hooks, run by pre-commit in a real repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from projects import Project

ROOT = Path(__file__).parents[2]
GIT = shutil.which("git")
COMMAND = """\
#!/bin/sh
exec {python} -P -c 'import sys; from harness.cli import main; sys.exit(main())' "$@"
"""

pytestmark = pytest.mark.skipif(GIT is None, reason="git is not installed")


def run_hook(project: Project, hook: str, stage: str = "pre-commit") -> tuple[int, str]:
    """Run a hook on all files of a project, as pre-commit does; return the exit code and output."""
    root = project.path
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    config = {"repos": [{"repo": "local", "hooks": hooks}]}
    (root / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (root / "bin").mkdir(exist_ok=True)
    command = root / "bin" / "gpu-profile"
    command.write_text(COMMAND.format(python=sys.executable), encoding="utf-8")
    command.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{root / 'bin'}:{os.environ['PATH']}",
        "PRE_COMMIT_HOME": str(root / "cache"),
        "PYTHONPATH": str(ROOT),
    }
    for arguments in (["init", "-q"], ["add", "profiles", ".pre-commit-config.yaml"]):
        subprocess.run([str(GIT), *arguments], cwd=root, check=True)
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "run", hook, "--all-files", "--hook-stage", stage],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_lock_with_a_conflict_marker_is_not_committed(project: Project, lock: Path) -> None:
    """A lock that parses passes; one with a marker fails, with its line."""
    assert 0 == run_hook(project, "gpu-profile-lock")[0]
    lines = len(lock.read_text(encoding="utf-8").splitlines())
    with lock.open("a", encoding="utf-8") as file:
        file.write("<<<<<<< HEAD\n")
    code, printed = run_hook(project, "gpu-profile-lock")
    assert 1 == code
    assert f"profiles/gpu-profile.lock:{lines + 1}: a merge conflict is not resolved" in printed


@pytest.mark.slow
def test_stale_lock_is_not_pushed(project: Project, lock: Path) -> None:
    """The values of another workload are told before the push, and not at each commit."""
    code, printed = run_hook(project, "gpu-profile-check", "pre-push")
    assert 1 == code
    assert "\nstale     net-cpu-48MiB-1" in printed, printed
    assert (
        "No hook with id `gpu-profile-check` in stage" in run_hook(project, "gpu-profile-check")[1]
    )
