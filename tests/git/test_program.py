"""Git is run with bounds, and what it says is passed on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from git_repositories import Repository

from harness.git.objects import Objects, sizes
from harness.git.program import GitError, environment, run_git

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Make a repository with one file."""
    made = Repository(tmp_path / "project")
    made.commit("First", {"file": "content\n"})
    return made


def test_more_output_than_allowed_is_an_error(repository: Repository) -> None:
    """Git is ended there."""
    with pytest.raises(GitError, match="`git show` prints more than 0 MiB"):
        run_git(repository.path, "show", "HEAD:file", max_bytes=3)
    assert b"content\n" == run_git(repository.path, "show", "HEAD:file", max_bytes=8)


def test_git_that_takes_too_long_is_ended(repository: Repository) -> None:
    """A process that reads from a pipe that nobody closes would wait for ever."""
    fifo = repository.path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(GitError, match="took longer than 0 s"):
        run_git(repository.path, "hash-object", "--no-filters", str(fifo), seconds=0.2)


def test_refusal_holds_the_words_of_git(repository: Repository) -> None:
    """The user knows how to act on them."""
    with pytest.raises(GitError, match=r"`git rev-parse` refuses: fatal: Needed a single revision"):
        run_git(repository.path, "rev-parse", "--verify", "HEAD~9:")


def test_objects_are_read_one_after_another(repository: Repository) -> None:
    """One process serves all; a name that is no object is an error."""
    name = repository.git("rev-parse", "HEAD:file")
    assert {name: 8} == sizes(repository.path, [name])
    with Objects(repository.path) as objects:
        assert [b"content\n", b"content\n"] == [objects.read(name), objects.read(name)]
        with pytest.raises(GitError, match="git has no object 0000"):
            objects.read("0" * 40)


def test_environment_keeps_the_users_exceptions_and_drops_what_a_hook_finds() -> None:
    """A CI system declares safe folders by variables; a hook's index is not ours."""
    base = {"GIT_CONFIG_COUNT": "1", "GIT_INDEX_FILE": "x", "GIT_DIR": "y", "HOME": "/h"}
    kept = environment(base)
    assert ("1", "/h") == (kept["GIT_CONFIG_COUNT"], kept["HOME"])
    assert not {"GIT_INDEX_FILE", "GIT_DIR"} & {*kept}
