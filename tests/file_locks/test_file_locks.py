"""Locks of files and folders: one holder, who is named, and a wait that ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness.file_locks import LockTimeoutError, holder_of, locked, try_lock, waiting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLD = """
import sys
from pathlib import Path
from harness.file_locks import try_lock
held = try_lock(Path(sys.argv[1]))
print(held is not None, flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["file", "folder"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return the path of what is locked: a file that is not there yet, or a folder."""
    if request.param == "file":
        return tmp_path / "guard.lock"
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


@pytest.fixture
def other(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Start another process that holds the lock until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert "True\n" == process.stdout.readline()
        yield process
        process.kill()


def test_lock_that_another_process_holds_is_not_taken(
    path: Path, other: subprocess.Popen[str]
) -> None:
    """Only one process has it, and once that one has ended the next may have it."""
    assert try_lock(path) is None
    other.kill()
    other.wait()
    held = try_lock(path)
    assert held is not None
    held.release()


def test_wait_ends_and_names_the_holder(path: Path, other: subprocess.Popen[str]) -> None:
    """The error says what is locked, by whom and for how long, and what to do."""
    with pytest.raises(LockTimeoutError) as caught, locked(path, "the folder", seconds=0.01):
        pass
    assert str(caught.value).startswith(
        f"the folder: process {other.pid} ({sys.executable} -c \\nimport sys\\n"
    )
    assert str(caught.value).endswith(
        " has been using it for 0.01 s and more: wait for it or end it"
    )


def test_wait_is_told_while_it_lasts(
    path: Path,
    other: subprocess.Popen[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A warning names the holder before the limit, once, for a log without a terminal too."""
    monkeypatch.setattr(waiting, "_SAY_AFTER_SECONDS", 0)
    with pytest.raises(LockTimeoutError), locked(path, "the folder", seconds=0.2):
        pass
    (told,) = caplog.messages
    assert told.startswith(f"the folder: waiting for process {other.pid} (")
    assert told.endswith("), up to 0.2 s")


def test_lock_is_given_back(path: Path) -> None:
    """After the block others may have it."""
    with locked(path, "the folder", seconds=1):
        assert try_lock(path) is None
    again = try_lock(path)
    assert again is not None
    again.release()


def test_holder_on_another_machine_is_named_with_it(tmp_path: Path) -> None:
    """A network file system's lock may be held elsewhere, where a process number says nothing."""
    path = tmp_path / "guard.lock"
    path.write_text("4711 node7\n", encoding="ascii")
    assert "process 4711 on node7" == holder_of(path)


@pytest.mark.parametrize("text", ["", "evil\n", "4711 \x1b[2J\n", "4711 node7", "9" * 200])
def test_holder_that_no_holder_wrote_is_not_shown(tmp_path: Path, text: str) -> None:
    """Anything else in the file is not shown at all."""
    path = tmp_path / "guard.lock"
    path.write_text(text, encoding="ascii")
    assert "another process" == holder_of(path)


def test_link_is_not_followed(tmp_path: Path) -> None:
    """A link in the place of a lock file would make this process write into its target."""
    (tmp_path / "guard.lock").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links"):
        try_lock(tmp_path / "guard.lock")
    assert not (tmp_path / "target").exists()


def test_file_of_the_lock_names_process_and_machine(tmp_path: Path) -> None:
    """Whoever finds the file can tell who holds it."""
    path = tmp_path / "guard.lock"
    with locked(path, "the file", seconds=1):
        assert f"{os.getpid()} {socket.gethostname()}\n" == path.read_text(encoding="ascii")
