"""Worktrees of revisions come and go without a trace in the user's checkout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from git_repositories import Repository

from harness.errors import HarnessError
from harness.git.program import GitError
from harness.git.worktrees import worktree

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Make a repository with two commits, and with changes that are in none."""
    made = Repository(tmp_path / "project")
    made.commit("First", {"file": "first", ".gitignore": "data\n"})
    made.commit("Second", {"file": "second"})
    (made.path / "file").write_text("mine", encoding="utf-8")
    (made.path / "data").mkdir()
    (made.path / "data" / "set").write_text("data", encoding="utf-8")
    return made


def test_worktree_holds_the_revision_and_is_removed(repository: Repository) -> None:
    """The checkout, its index and its list of worktrees are as before."""
    before = [
        repository.git(*words) for words in (("status",), ("worktree", "list"), ("stash", "list"))
    ]
    with worktree(repository.path, repository.git("rev-parse", "HEAD~1")) as path:
        assert "first" == (path / "file").read_text(encoding="utf-8")
        assert path.name == repository.path.name
    assert not path.exists()
    after = [
        repository.git(*words) for words in (("status",), ("worktree", "list"), ("stash", "list"))
    ]
    assert before == after
    assert "mine" == (repository.path / "file").read_text(encoding="utf-8")
    assert not (repository.path / ".git" / "worktrees").exists()


def test_worktree_is_removed_after_an_interruption(repository: Repository) -> None:
    """Whatever ends the block, the folder and git's note of it are gone."""
    with pytest.raises(KeyboardInterrupt), worktree(repository.path, "HEAD") as path:  # noqa: PT012 - the block is what is interrupted
        (path / "left").write_text("behind", encoding="utf-8")
        raise KeyboardInterrupt
    assert not path.exists()
    assert not (repository.path / ".git" / "worktrees").exists()


def test_damaged_worktree_is_removed(repository: Repository) -> None:
    """Git cannot remove what is no worktree any more."""
    with worktree(repository.path, "HEAD") as path:
        (path / ".git").unlink()
    assert not path.exists()
    assert not (repository.path / ".git" / "worktrees").exists()


def test_links_lead_to_what_git_does_not_hold(repository: Repository) -> None:
    """Removing the worktree leaves what is behind them."""
    with worktree(repository.path, "HEAD", ["data"]) as path:
        assert "data" == (path / "data" / "set").read_text(encoding="utf-8")
    assert (repository.path / "data" / "set").exists()


def test_link_does_not_replace_what_the_revision_has(repository: Repository) -> None:
    """A file of the commit stays as it is there."""
    with worktree(repository.path, "HEAD", ["file"]) as path:
        assert "second" == (path / "file").read_text(encoding="utf-8")


@pytest.mark.parametrize("link", ["nothing", "../elsewhere"])
def test_link_to_nothing_is_an_error(repository: Repository, link: str) -> None:
    """The error names the path; nothing is left."""
    with (
        pytest.raises(HarnessError, match=f"--link {link}: "),
        worktree(repository.path, "HEAD", [link]),
    ):
        pass
    assert not (repository.path / ".git" / "worktrees").exists()


def test_unknown_commit_is_an_error(repository: Repository) -> None:
    """Git's own words are in the message, and nothing is left."""
    with (
        pytest.raises(GitError, match="invalid reference: nowhere"),
        worktree(repository.path, "nowhere"),
    ):
        pass
    assert not (repository.path / ".git" / "worktrees").exists()


def test_hooks_of_the_repository_do_not_run(repository: Repository) -> None:
    """A checkout of the user's would start them."""
    hook, sprung = repository.path / ".git" / "hooks" / "post-checkout", repository.path / "sprung"
    hook.write_text(f"#!/bin/sh\ntouch {sprung}\n", encoding="utf-8")
    hook.chmod(0o755)
    with worktree(repository.path, "HEAD"):
        pass
    assert not sprung.exists()
