"""`gpu-profile check --lock-only` tells whether a lockfile can be read, and reads nothing else."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from measurements import locked

from harness.cli.command_line import main
from harness.lockfile.write import update_lock

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Output


@pytest.fixture
def lockfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a project with a lockfile, a broken matrix and a conftest that must not run."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "profiles" / "gpu-profile.lock"
    path.parent.mkdir()
    update_lock(path, [locked()])
    (tmp_path / "profiles" / "matrix.yaml").write_text("no: matrix", encoding="utf-8")
    (tmp_path / "conftest.py").write_text("open('ran', 'w')\n", encoding="utf-8")
    return path


def test_readable_lock(lockfile: Path, capsys: Output) -> None:
    """It says how many profiles there are; the matrix does not count, and no code runs."""
    assert 0 == main(["check", "--lock-only"])
    assert "profiles/gpu-profile.lock can be read; it holds 1 profile\n" == capsys.readouterr().out
    assert not lockfile.parents[1].joinpath("ran").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("version = 1\n<<<<<<< HEAD\n", ":2: "),
        ("version = 1\n[[profile]]\nmodel = 'a'\n", ":2: "),
        ("version = 1\nbatch size = 3\n", ":2: "),
        ("version = 9\n", ":1: "),
    ],
)
def test_damaged_lock(lockfile: Path, capsys: Output, text: str, told: str) -> None:
    """A conflict marker, a block with missing values, and what is no TOML end with code 2."""
    lockfile.write_text(text, encoding="utf-8")
    assert 2 == main(["check", "--lock-only"])
    assert f"gpu-profile: profiles/gpu-profile.lock{told}" in capsys.readouterr().err


def test_missing_lock(lockfile: Path, capsys: Output) -> None:
    """A lockfile that is not there is told, with the command that makes one."""
    lockfile.unlink()
    assert 2 == main(["check", "--lock-only"])
    assert (
        "profiles/gpu-profile.lock does not exist; pytest --gpu-profile" in capsys.readouterr().err
    )


def test_nothing_heavy_is_imported(lockfile: Path) -> None:
    """A hook runs on each commit: torch, Lightning and matplotlib take seconds."""
    code = (
        "import sys; from harness.cli import main; main(['check', '--lock-only']);"
        "print({'torch', 'lightning', 'matplotlib'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "set()" == done.stdout.splitlines()[-1]
