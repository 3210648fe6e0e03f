"""The lockfile as a file: modes, links, full disks, killed writers and several writers at once."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from making import locked

from harness import lock_writing
from harness.lock_writing import update_lock
from harness.lockfile import LockError, read_lock

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a lockfile in a folder of its own."""
    return tmp_path / "gpu-profile.lock"


@contextmanager
def unprivileged() -> Iterator[None]:
    """Give root's rights up for a while: root writes wherever it likes."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_nothing_is_left_beside_the_lockfile(path: Path) -> None:
    """`git status` shows the lockfile and nothing else, after success and failure."""
    update_lock(path, [locked()])
    with pytest.raises(TypeError):
        update_lock(path, [locked(model="vit", settings={"a": None})])
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208 - names alone are compared


@pytest.mark.parametrize("mode", [0o640, 0o664])
def test_an_update_keeps_the_mode(path: Path, mode: int) -> None:
    """The team's permissions outlive the replacement of the file."""
    update_lock(path, [locked()])
    path.chmod(mode)
    update_lock(path, [locked(batch_size=3000)])
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_lockfile_has_the_mode_of_any_new_file(path: Path) -> None:
    """The umask decides, not the temporary file's privacy."""
    other = path.with_name("other")
    other.touch()
    update_lock(path, [locked()])
    assert path.stat().st_mode == other.stat().st_mode


def test_a_link_is_written_through(path: Path) -> None:
    """A lockfile that is a link stays one; its target gets the values."""
    target = path.parent / "elsewhere" / "real.lock"
    target.parent.mkdir()
    path.symlink_to(target)
    update_lock(path, [locked()])
    update_lock(path, [locked(model="vit")])
    assert (path.is_symlink(), len(read_lock(target))) == (True, 2)


def test_a_read_only_file_is_refused(path: Path) -> None:
    """Whoever took the write bits off did so on purpose, even if the folder would allow a replacement."""
    update_lock(path, [locked()])
    path.chmod(0o444)
    with pytest.raises(LockError, match=r"gpu-profile\.lock: cannot be written: the file is read-only"):
        update_lock(path, [locked(batch_size=3000)])


def test_a_read_only_folder_is_refused() -> None:
    """A folder that takes no new file is told as such."""
    # Not tmp_path: only its owner may enter that.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        with unprivileged(), pytest.raises(LockError, match=r"cannot be written: the folder .* is read-only"):
            update_lock(Path(folder) / "gpu-profile.lock", [locked()])


def test_a_missing_folder_is_refused(path: Path) -> None:
    """A slip in a path makes no folders."""
    with pytest.raises(LockError, match=r"there is no folder .*nowhere; create it"):
        update_lock(path.parent / "nowhere" / path.name, [locked()])


def test_a_folder_in_its_place_is_refused(path: Path) -> None:
    """A lockfile cannot replace a folder."""
    path.mkdir()
    with pytest.raises(LockError, match="a folder"):
        update_lock(path, [locked()])


def test_runs_side_by_side_lose_nothing(path: Path) -> None:
    """Processes that update different cases at the same time all reach the file."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from making import locked\nfrom harness.lock_writing import update_lock\n"
        "for index in range(5): update_lock(sys.argv[2], [locked(model=f'{sys.argv[3]}{index}')])"
    )
    tests = str(Path(__file__).parent)
    runs = [
        subprocess.Popen([sys.executable, "-c", code, tests, str(path), name])
        for name in ("a", "b", "c", "d")
    ]
    assert [run.wait(60) for run in runs] == [0] * 4
    assert len(read_lock(path)) == 20


def test_a_killed_update_leaves_the_old_file(path: Path) -> None:
    """A process that dies before the replacement has changed nothing."""
    update_lock(path, [locked()])
    before = path.read_bytes()
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from making import locked\nfrom harness import lock_writing\n"
        "os.fsync = lambda descriptor: os.kill(os.getpid(), 9)\n"
        "lock_writing.update_lock(sys.argv[2], [locked(model='vit')])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(path)], check=False, timeout=60
    )
    assert (run.returncode, path.read_bytes()) == (-9, before)


def test_a_full_disk_leaves_the_old_file_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system has against writing is told; the old file stays, and nothing beside it."""
    update_lock(path, [locked()])
    before = path.read_bytes()

    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(LockError, match=r"gpu-profile\.lock: cannot be written: No space left on device"):
        update_lock(path, [locked(model="vit")])
    assert (path.read_bytes(), list(path.parent.iterdir())) == (before, [path])


def test_a_writer_that_never_ends_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits in vain learns for which file, and that nothing was written."""
    monkeypatch.setattr(lock_writing, "_WAIT_SECONDS", 0.05)
    with (
        lock_writing._writing(path),
        pytest.raises(LockError, match="another process has been writing it for"),
    ):
        update_lock(path, [locked()])
    assert not path.exists()
