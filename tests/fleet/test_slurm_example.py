"""The script for Slurm in the documents, with jobs that are processes of this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import harness
from harness.lockfile.profiles import read_lock

if TYPE_CHECKING:
    from projects import Project

SCRIPT = Path(harness.__file__).parents[1] / "docs" / "examples" / "slurm.py"


def submitted(project: Project, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run the script in a project."""
    return subprocess.run(
        [sys.executable, str(SCRIPT), "--cluster", "local", *flags],
        cwd=project.path,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_jobs_of_two_kinds_are_merged(project: Project) -> None:
    """Each job locks the cases of its own label, and the lockfile has those of both."""
    matrix = project.path / "profiles" / "matrix.yaml"
    text = matrix.read_text().replace("gpu: [cpu-48MiB]", "gpu: [cpu-48MiB, big-cpu-48MiB]")
    matrix.write_text(
        text.replace("gpus:\n", "gpus:\n  big-cpu-48MiB: {accelerator: cpu, budget: 64MiB}\n")
    )
    (project.path / "pytest.ini").write_text("[pytest]\n")
    kinds = ["--kind", "cpu-48MiB", "partition=any", "exclusive", "--kind", "big-cpu-48MiB"]
    done = submitted(project, "--update", *kinds)
    assert 0 == done.returncode, done.stdout + done.stderr
    locked = [profile.case_id for profile in read_lock(project.lock).profiles]
    assert ["net-big-cpu-48MiB-1", "net-cpu-48MiB-1"] == sorted(locked)
    assert "cpu-48MiB: job " in done.stdout


def test_label_that_no_case_has_is_told(project: Project) -> None:
    """No job waits in a queue for it."""
    (project.path / "pytest.ini").write_text("[pytest]\n")
    done = submitted(project, "--kind", "h10o")
    told = "no case has the label h10o: see gpus in the matrix\n"
    assert (1, "", told) == (done.returncode, done.stdout, done.stderr)
