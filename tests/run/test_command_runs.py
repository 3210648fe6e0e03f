"""Whole runs of commands: measured, locked, checked, read back, and judged."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import harness
from harness.cli.command_line import main

if TYPE_CHECKING:
    import pytest
    from projects import Project

PROGRAMS = Path(__file__).parents[1] / "programs"
MATRIX = """\
version: 1
matrix:
  model: [loop, hangs, fails]
  gpu: [cpu-48MiB]
  resolution: [1024]
models:
  loop: {{command: "{loop} --width ${{resolution}} --batch-size ${{batch_size}}"}}
  hangs: {{command: "{odd} hangs ${{batch_size}}", search: {{probe_timeout: 5}}}}
  fails: {{command: "{odd} raises ${{batch_size}}", search: {{max_batch_size: 1}}}}
gpus:
  cpu-48MiB: {{accelerator: cpu, budget: 48MiB}}
search: {{max_batch_size: 4}}
"""


def write_matrix(project: Project, more: str = "") -> None:
    """Write the matrix; `more` are further arguments of the loop."""
    python = shlex.quote(sys.executable)
    text = MATRIX.format(
        loop=f"{python} {PROGRAMS / 'plain_loop.py'}{more}",
        odd=f"{python} {PROGRAMS / 'odd_endings.py'}",
    )
    (project.path / "profiles" / "matrix.yaml").write_text(text, encoding="utf-8")


def test_commands_are_locked_and_judged_as_any_workload(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """A batch is locked and read back; a time-out and an exception are errors with their reason."""
    write_matrix(project)
    result = project.run("--gpu-profile", "--gpu-profile-update")
    output = result.stdout.str()
    report = project.report()
    result.assert_outcomes(passed=1, failed=2)
    assert (4, "cap") == (
        report["loop-cpu-48MiB-1024"]["max_batch_size"],
        report["loop-cpu-48MiB-1024"]["bounded_by"],
    )
    assert "setting up the workload timed out after 5 s" in output
    assert "no batch size trains: batch 1 failed: ValueError: the" in output
    tuned = harness.load_profile("loop", resolution=1024, gpu="cpu-48MiB", lock=project.lock)
    assert 4 == tuned.batch_size

    capsys.readouterr()
    main(["check"])
    assert "ok        loop-cpu-48MiB-1024" in re.sub(r" {3,}", "        ", capsys.readouterr().out)
    write_matrix(project, " --samples 9")
    main(["check"])
    assert re.search(r"stale\W+loop-cpu-48MiB-1024\W+locked with another", capsys.readouterr().out)
