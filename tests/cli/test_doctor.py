"""The verb `doctor` as a whole: its lines, its exit code, and what it leaves alone."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from hostile_words import assert_harmless
from nvml_stub import gpu, world

from harness.cli.command_line import main
from harness.cli.doctor import CHECKS

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Output
    from projects import Project


def run_here(environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, as a shell does."""
    code = "import sys; from harness.cli import main; code = main(['doctor'])\n"
    code += "print('torch' in sys.modules); sys.exit(code)"
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **(environment or {})}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=variables,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_machine_without_a_gpu_is_well(lock: Path, project: Project) -> None:
    """Every check has a line, nothing is wrong, nothing is written, and torch is not imported."""
    before = sorted(project.path.rglob("*"))
    done = run_here({"CUDA_VISIBLE_DEVICES": ""})
    *lines, summary, has_torch = done.stdout.splitlines()
    assert (0, "") == (done.returncode, done.stderr)
    assert {name for name, _ in CHECKS} == {
        line.split()[1] for line in lines if not line.startswith(" ")
    }
    assert summary.startswith("0 wrong, ")
    assert "False" == has_torch
    assert before == sorted(project.path.rglob("*"))


def test_what_is_wrong_ends_with_1_and_stands_with_its_remedy(lock: Path, tmp_path: Path) -> None:
    """A GPU with errors, whose name would steer a terminal: harmless, wrong, and mended by a line.

    The checks behind it are made all the same.
    """
    one = gpu("NVIDIA \x1b[31mH200 ##[error]", ecc=2)
    done = run_here(world(tmp_path, [one]))
    assert 1 == done.returncode
    assert_harmless(done.stdout)
    lines = done.stdout.splitlines()
    place = next(number for number, line in enumerate(lines) if "ECC errors" in line)
    assert lines[place].startswith("wrong  gpus       NVIDIA \\x1b[31mH200 #\\u0023[error] (GPU-a)")
    assert lines[place + 1].startswith("                  -> reset it (`nvidia-smi --gpu-reset`)")
    assert "results" in [line.split()[1] for line in lines[place + 2 : -2] if line.strip()]


def test_wrong_usage_ends_with_2(capsys: Output) -> None:
    """An argument that does not exist is refused before any check."""
    assert 2 == main(["doctor", "--nonsense"])
    assert "" == capsys.readouterr().out
