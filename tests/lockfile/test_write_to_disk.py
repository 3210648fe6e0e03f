"""Writing the lockfile to disk: modes, links, full disks, killed and concurrent writers."""

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
from measurements import locked
from projects import SUPPORT

from harness import files
from harness.lockfile.profiles import read_lock
from harness.lockfile.toml_text import LockError
from harness.lockfile.write import update_lock

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a lockfile in a folder of its own."""
    return tmp_path / "gpu-profile.lock"


@contextmanager
def unprivileged() -> Iterator[None]:
    """Give up root's rights for a while, because root may write anywhere."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_nothing_is_left_beside_the_lockfile(path: Path) -> None:
    """After success and failure, the folder holds the lockfile and no other file."""
    update_lock(path, [locked()])
    with pytest.raises(TypeError):
        update_lock(path, [locked(model="vit", settings={"a": None})])
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208 - names alone are compared


@pytest.mark.parametrize("mode", [0o640, 0o664])
def test_an_update_keeps_the_mode(path: Path, mode: int) -> None:
    """An update keeps the permissions of the file."""
    update_lock(path, [locked()])
    path.chmod(mode)
    update_lock(path, [locked(batch_size=3000)])
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_lockfile_has_the_mode_of_any_new_file(path: Path) -> None:
    """A new lockfile gets its mode from the umask, not from the temporary file."""
    other = path.with_name("other")
    other.touch()
    update_lock(path, [locked()])
    assert path.stat().st_mode == other.stat().st_mode


def test_a_link_is_written_through(path: Path) -> None:
    """A lockfile that is a link stays a link; the values go to its target."""
    target = path.parent / "elsewhere" / "real.lock"
    target.parent.mkdir()
    path.symlink_to(target)
    update_lock(path, [locked()])
    update_lock(path, [locked(model="vit")])
    assert (path.is_symlink(), len(read_lock(target))) == (True, 2)


def test_a_read_only_file_is_refused(path: Path) -> None:
    """A read-only file is not replaced, although its folder would allow that."""
    update_lock(path, [locked()])
    path.chmod(0o444)
    with pytest.raises(
        LockError, match=r"gpu-profile\.lock: cannot be written: the file is read-only"
    ):
        update_lock(path, [locked(batch_size=3000)])


def test_a_read_only_folder_is_refused() -> None:
    """A read-only folder is an error that names the folder."""
    # Only its owner may enter tmp_path.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        with (
            unprivileged(),
            pytest.raises(LockError, match=r"cannot be written: the folder .* is read-only"),
        ):
            update_lock(Path(folder) / "gpu-profile.lock", [locked()])


def test_a_missing_folder_is_refused(path: Path) -> None:
    """A missing folder is an error; no folder is created."""
    with pytest.raises(LockError, match=r"there is no folder .*nowhere; create it"):
        update_lock(path.parent / "nowhere" / path.name, [locked()])


def test_a_folder_in_its_place_is_refused(path: Path) -> None:
    """A folder in place of the lockfile is an error."""
    path.mkdir()
    with pytest.raises(LockError, match="a folder"):
        update_lock(path, [locked()])


def test_runs_side_by_side_lose_nothing(path: Path) -> None:
    """Processes that update different cases at the same time lose no update."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from measurements import locked\nfrom harness.lockfile.write import update_lock\n"
        "for index in range(5): update_lock(sys.argv[2], [locked(model=f'{sys.argv[3]}{index}')])"
    )
    tests = str(SUPPORT)
    runs = [
        subprocess.Popen([sys.executable, "-c", code, tests, str(path), name])
        for name in ("a", "b", "c", "d")
    ]
    assert [run.wait(60) for run in runs] == [0] * 4
    assert len(read_lock(path)) == 20


def test_a_killed_update_leaves_the_old_file(path: Path) -> None:
    """An update that is killed before the replacement leaves the old file."""
    update_lock(path, [locked()])
    before = path.read_bytes()
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from measurements import locked\nfrom harness.lockfile import write as lock_writing\n"
        "os.fsync = lambda descriptor: os.kill(os.getpid(), 9)\n"
        "lock_writing.update_lock(sys.argv[2], [locked(model='vit')])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(SUPPORT), str(path)], check=False, timeout=60
    )
    assert (run.returncode, path.read_bytes()) == (-9, before)


def test_a_full_disk_leaves_the_old_file_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the error names the reason, and only the old file remains."""
    update_lock(path, [locked()])
    before = path.read_bytes()

    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(
        LockError, match=r"gpu-profile\.lock: cannot be written: No space left on device"
    ):
        update_lock(path, [locked(model="vit")])
    assert (path.read_bytes(), list(path.parent.iterdir())) == (before, [path])


def test_a_writer_that_never_ends_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An update that waits too long for another writer fails and writes nothing."""
    monkeypatch.setattr(files, "_WAIT_SECONDS", 0.05)
    with (
        files.writing(path),
        pytest.raises(
            LockError, match=r"has been using it for 0\.05 s and more: wait for it or end it"
        ),
    ):
        update_lock(path, [locked()])
    assert not path.exists()
