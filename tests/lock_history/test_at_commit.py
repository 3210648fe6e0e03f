"""A lockfile as one commit has it."""

from __future__ import annotations

from pathlib import Path

import pytest
from git_repositories import Repository
from measurements import locked

from harness.errors import HarnessError
from harness.git import GitError
from harness.lock_history import lock_at
from harness.lockfile.profiles import Lock
from harness.lockfile.render import render

LOCK = "profiles/gpu-profile.lock"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Make a repository whose lockfile came in the second commit, and changed in the third."""
    made = Repository(tmp_path / "project")
    made.commit("Begin", {"README": "text"})
    made.commit("Lock", {LOCK: render(Lock(Path(LOCK), (locked(),)))})
    made.commit("Worse", {LOCK: render(Lock(Path(LOCK), (locked(max_batch_size=3500),)))})
    return made


@pytest.mark.parametrize(
    ("revision", "batches"), [("HEAD", [3500]), ("main~1", [3712]), ("main~2", [])]
)
def test_lock_of_a_commit(repository: Repository, revision: str, batches: list[int]) -> None:
    """A commit is named as git names it; before the lockfile existed it was empty."""
    lock = lock_at(repository.path / LOCK, revision)
    assert batches == [profile.max_batch_size for profile in lock]


@pytest.mark.parametrize("revision", ["nowhere", "--all", "", "HEAD:README", "a\nb", "x" * 5000])
def test_what_is_no_commit_is_named(repository: Repository, revision: str) -> None:
    """The error has what was asked for, and how to get a commit that is not here."""
    with pytest.raises(GitError, match=r"is no (name of a )?commit"):
        lock_at(repository.path / LOCK, revision)


def test_folder_without_a_repository(tmp_path: Path) -> None:
    """Git's own words tell that there is none."""
    with pytest.raises(GitError, match="not a git repository"):
        lock_at(tmp_path / LOCK, "HEAD")


@pytest.mark.parametrize("data", [b"version = 99\n", b"\xff\xfe", b"<<<<<<< ours\n"])
def test_damaged_lock_names_the_commit(repository: Repository, data: bytes) -> None:
    """A lockfile of the past that cannot be read is an error, with its commit."""
    (repository.path / LOCK).write_bytes(data)
    repository.commit("Damage")
    with pytest.raises(HarnessError, match="at HEAD"):
        lock_at(repository.path / LOCK, "HEAD")


def test_link_in_its_place_is_refused(repository: Repository) -> None:
    """Where a commit has a link under this path, it has no lockfile."""
    text = (repository.path / LOCK).read_text()
    (repository.path / LOCK).unlink()
    (repository.path / LOCK).symlink_to("../README")
    repository.commit("Link")
    (repository.path / LOCK).unlink()
    (repository.path / LOCK).write_text(text)
    with pytest.raises(HarnessError, match="is a link, a folder or a submodule there"):
        lock_at(repository.path / LOCK, "HEAD")
