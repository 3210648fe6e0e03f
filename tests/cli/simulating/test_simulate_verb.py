"""`gpu-profile simulate`: what it refuses, and which GPU and torch are meant. No CUDA starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.cli.command_line import main
from harness.cli.simulating.simulate import simulated_gpu
from harness.simulated.interpreter import interpreter_of, torch_of

if TYPE_CHECKING:
    from command_line import Output

MIB, GIB = 1 << 20, 1 << 30
H100 = ["simulate", "--gpu", "H100"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["simulate", "--gpu", "X9", "--", "true"],
            "unknown GPU X9. Known: P100-16GB, GTX-1080-Ti, T4",
        ),
        (
            ["simulate", "--gpu", "X9", "--", "true"],
            "GB200; give any other GPU its memory: --memory 24GiB\n",
        ),
        (
            [*H100, "python", "train.py", "--batch-size", "8"],
            "behind `--`: `gpu-profile simulate --gpu H100 -- python train.py --batch-size 8`\n",
        ),
        ([*H100, "--"], "`gpu-profile simulate --gpu H100 -- python train.py`\n"),
        (H100, "`gpu-profile simulate --gpu H100 -- python train.py`\n"),
        ([*H100, "--memory", "0", "--", "true"], "--memory 0 is not allowed; a size is at least"),
        ([*H100, "--memory", "24gib", "--", "true"], "unit; did you mean 24GiB?\n"),
        (
            [*H100, "--memory", "lots", "--", "true"],
            '--memory "lots" is not allowed; a size such as 40GiB, 141GB or 512MiB',
        ),
        (
            [*H100, "--memory", "530MiB", "--", "true"],
            "the CUDA context of a process alone takes 530.0 MiB: give more, such as 24GiB\n",
        ),
        ([*H100, "--count", "0", "--", "true"], "--count 0 is not allowed; a whole number from 1"),
        (
            [*H100, "--count", "33", "--", "true"],
            "33 is not allowed; a whole number from 1 to 32\n",
        ),
        (
            [*H100, "--", "no-such-command", "x"],
            "no-such-command: no such program on PATH: give the command as you would type it, such",
        ),
        ([*H100, "--", "./no-such-file"], "./no-such-file: no such program: give the command"),
        (
            [*H100, "--json", "absent/peaks.json", "--", "true"],
            "absent/peaks.json: cannot be written: there is no folder",
        ),
    ],
)
def test_wrong_options_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
    arguments: list[str],
    message: str,
) -> None:
    """One sentence tells what is wrong, what is allowed and what to do; the exit code is 2."""
    monkeypatch.chdir(tmp_path)
    assert 2 == main(arguments)
    printed = capsys.readouterr()
    assert ["", 1] == [printed.out, printed.err.count("\n")]
    assert printed.err.startswith("gpu-profile: ")
    assert message in printed.err


def test_torch_without_cuda_is_refused(tmp_path: Path) -> None:
    """The torch of the command's Python is looked at before the program starts."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").touch()
    (tmp_path / "torch" / "version.py").write_text(
        "__version__ = '2.9.9+cpu'\ncuda: str | None = None\n", encoding="utf-8"
    )
    path = os.pathsep.join([str(tmp_path), *(entry for entry in sys.path if entry)])
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from harness.cli import main; sys.exit(main())",
            *H100,
            "--",
            sys.executable,
            "-c",
            "print('it runs')",
        ],
        env=os.environ | {"PYTHONPATH": path},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert [2, ""] == [done.returncode, done.stdout]
    assert "torch 2.9.9+cpu is built without CUDA: `pip install --force-reinstall" in done.stderr


def test_gpu_of_the_table_has_its_facts() -> None:
    """Both totals and the compute capability are those of predictions."""
    gpu = simulated_gpu("h100", None)
    assert ("NVIDIA H100 80GB HBM3", 81008 * MIB, 81559 * MIB, (9, 0)) == (
        gpu.name,
        gpu.total_bytes,
        gpu.nvml_bytes,
        gpu.capability,
    )


@pytest.mark.parametrize(
    ("label", "memory", "name", "total", "capability"),
    [
        ("L4", "4GiB", "NVIDIA L4", 4 * GIB, (8, 9)),
        ("mine", "24 GiB", "mine", 24 * GIB, (8, 0)),
        ("mine", str(24 * GIB), "mine", 24 * GIB, (8, 0)),
    ],
)
def test_memory_that_is_given_is_what_cuda_sees(
    label: str, memory: str, name: str, total: int, capability: tuple[int, int]
) -> None:
    """A known GPU keeps its name and capability; any other is an Ampere."""
    gpu = simulated_gpu(label, memory)
    assert (name, total, capability) == (gpu.name, gpu.total_bytes, gpu.capability)


@pytest.mark.parametrize(
    "beginning",
    [
        f"#!{sys.executable}\n",
        f"#! {sys.executable} -s\n",
        f"#!/bin/sh\n'''exec' \"{sys.executable}\" \"$0\" \"$@\"\n' '''\n",
        f"#!/usr/bin/env {Path(sys.executable).name}\n",
    ],
)
def test_interpreter_of_a_script_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beginning: str
) -> None:
    """It stands in the first lines, as pip and people write them."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    script = tmp_path / "torchrun"
    script.write_text(beginning + "import torch\n", encoding="utf-8")
    assert sys.executable == interpreter_of(str(script))


@pytest.mark.parametrize("content", [b"#!/bin/sh\npython x\n", b"\x7fELFpython", b""])
def test_other_programs_have_no_interpreter(tmp_path: Path, content: bytes) -> None:
    """A shell script may start Python later; that cannot be seen."""
    program = tmp_path / "program"
    program.write_bytes(content)
    assert [None, None] == [interpreter_of(str(program)), torch_of(str(program))]


def test_torch_of_another_python_is_that_pythons(tmp_path: Path) -> None:
    """Another environment's interpreter is asked where it finds torch."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").touch()
    other = tmp_path / "bin" / "python"
    other.parent.mkdir()
    other.write_text(
        f'#!/bin/sh\nPYTHONPATH="{tmp_path}" exec "{sys.executable}" "$@"\n', encoding="utf-8"
    )
    other.chmod(0o755)
    assert tmp_path / "torch" == torch_of(str(other))
    assert torch_of(sys.executable) is None
