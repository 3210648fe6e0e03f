"""Files are replaced in one piece, by one writer at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from harness import files
from harness.errors import HarnessError
from harness.file_locks import holder_of
from harness.files import refuse_read_only, replacing, write_text, writing

if TYPE_CHECKING:
    from pathlib import Path


def test_text_is_the_whole_content(tmp_path: Path) -> None:
    """A longer file is replaced, not overwritten from its beginning; nothing stays beside it."""
    path = tmp_path / "report.md"
    path.write_text("what was there before", encoding="utf-8")
    write_text(path, "new")
    assert (b"new", [path]) == (path.read_bytes(), [*tmp_path.iterdir()])


def test_block_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """An error inside the block removes the new file and keeps the old one."""
    path = tmp_path / "plot.png"
    path.write_bytes(b"old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"half of the n")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (b"old", [path]) == (path.read_bytes(), [*tmp_path.iterdir()])


def test_folders_above_are_made(tmp_path: Path) -> None:
    """A result may go into a folder that is not there yet."""
    path = tmp_path / "deep" / "down" / "curve.json"
    with replacing(path) as temporary:
        temporary.write_bytes(b"{}")
    assert b"{}" == path.read_bytes()


def test_permissions_of_a_written_file_stay(tmp_path: Path) -> None:
    """A file that was made readable for its owner alone is so afterwards."""
    path = tmp_path / "gpu-profile.lock"
    path.touch(0o600)
    write_text(path, "version = 1\n")
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_same_text_is_not_written_again(tmp_path: Path) -> None:
    """A file that holds the text already keeps its inode and its time."""
    path = tmp_path / "gpu-profile.lock"
    write_text(path, "version = 1\n")
    before = path.stat()
    write_text(path, "version = 1\n")
    assert (before.st_ino, before.st_mtime_ns) == (path.stat().st_ino, path.stat().st_mtime_ns)


def test_link_stays_a_link(tmp_path: Path) -> None:
    """What a symbolic link points to is replaced, not the link."""
    target, link = tmp_path / "real.lock", tmp_path / "link.lock"
    target.touch()
    link.symlink_to(target)
    write_text(link, "text")
    assert (True, "text") == (link.is_symlink(), target.read_text(encoding="utf-8"))


def test_remains_of_killed_writers_are_removed(tmp_path: Path) -> None:
    """Only those of the same file: others may be in use."""
    path = tmp_path / "report.json"
    (tmp_path / ".report.json.abc.tmp").touch()
    other = tmp_path / ".report.md.abc.tmp"
    other.touch()
    write_text(path, "{}")
    assert {path, other} == {*tmp_path.iterdir()}


def test_second_writer_waits_and_then_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits in vain learns which file it is, and that nothing was written."""
    monkeypatch.setattr(files, "_WAIT_SECONDS", 0.05)
    path = tmp_path / "report.json"
    with (
        writing(path),
        pytest.raises(
            HarnessError, match=rf"report\.json: process {os.getpid()} .* has been using"
        ),
    ):
        write_text(path, "{}")
    assert not path.exists()


def test_writer_that_writes_again_lets_others_write_first(tmp_path: Path) -> None:
    """Who waits gets the next turn, although the writer before asks again at once."""
    path = tmp_path / "gpu-profile.lock"
    order = []

    def write_theirs() -> None:
        write_text(path, "theirs")
        order.append("other")

    other = threading.Thread(target=write_theirs)
    turn = files._beside(tmp_path, "turn")
    with writing(path):
        other.start()
        while not turn.exists() or holder_of(turn) == "another process":
            pass  # until the other one waits
    write_text(path, "ours")
    order.append("again")
    other.join()
    assert (["other", "again"], "ours") == (order, path.read_text(encoding="utf-8"))


def _unlockable(_descriptor: int, _operation: int) -> None:
    """Stand in for a file system without locks: none is at hand in a test."""
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_folder_without_locks_is_guarded_by_a_file_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On NFS a folder cannot be locked; a file in the temporary folder keeps others out."""
    flock = fcntl.flock

    def only_files(descriptor: int, operation: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            _unlockable(descriptor, operation)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", only_files)
    monkeypatch.setattr(files, "_WAIT_SECONDS", 0.05)
    path = tmp_path / "report.json"
    with writing(path), pytest.raises(HarnessError, match="has been using"):
        write_text(path, "{}")


def test_nothing_is_written_where_nothing_can_be_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any lock two writers would lose each other's values: the error says what to do."""
    monkeypatch.setattr(fcntl, "flock", _unlockable)
    path = tmp_path / "report.json"
    with pytest.raises(HarnessError, match=r"cannot be written safely: .* set TMPDIR"):
        write_text(path, "{}")
    assert not path.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_owner_of_a_written_file_stays(tmp_path: Path) -> None:
    """A CI that runs as root leaves the user's file to the user."""
    path = tmp_path / "gpu-profile.lock"
    path.touch()
    path.chmod(0o664)
    os.chown(path, 1234, 4321)
    write_text(path, "version = 1\n")
    status = path.stat()
    assert (1234, 4321, 0o664) == (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))


def test_attributes_of_a_written_file_stay(tmp_path: Path) -> None:
    """Extended attributes, which also hold access lists, go over to the new file."""
    path = tmp_path / "gpu-profile.lock"
    path.touch()
    try:
        os.setxattr(path, "user.origin", b"ci")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    write_text(path, "version = 1\n")
    assert b"ci" == os.getxattr(path, "user.origin")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere/report.json", "there is no folder"),
        ("read-only.json", r"the file is read-only \(chmod u\+w to allow it\)"),
    ],
)
def test_file_that_could_not_be_written_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    """The message names the file, the reason and the remedy."""
    (tmp_path / "read-only.json").touch(0o444)
    with pytest.raises(HarnessError, match=rf"{name}: cannot be written: {reason}"):
        refuse_read_only(tmp_path / name)
