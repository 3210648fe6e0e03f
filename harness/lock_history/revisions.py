"""Reads the revisions of a lockfile with their profiles, within bounds."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.bounded_file import UnreadableFileError, read_bounded
from harness.git.objects import Objects, sizes
from harness.git.program import GitError, run_git
from harness.lock_history.blocks import BlockParser
from harness.lock_history.log import commits_of
from harness.lockfile.toml_limits import MAX_BYTES
from harness.lockfile.toml_text import LockError
from harness.wording import shown_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from harness.lock_history.log import Commit
    from harness.lockfile.profiles import LockedProfile

MAX_REVISIONS = 1000
# A thousand revisions of a lock with 100 cases are 100 MB, of which a hundredth is new text.
_MAX_READ_BYTES = 512 * 1024**2
# Parsed in some 10 s.
_MAX_PARSED_CHARS = 32 * 1024**2


@dataclass(frozen=True, slots=True)
class Revision:
    """What a lockfile held at one commit, or holds now."""

    commit: str | None
    """The full hash; None for what is not committed."""
    date: datetime | None
    """When it was committed, in UTC; None for what is not committed."""
    author: str = ""
    subject: str = ""
    path: str = ""
    """The lockfile's path in this commit, from the top of the repository."""
    profiles: Mapping[str, tuple[LockedProfile, ...]] = field(default_factory=dict)
    """The profiles by case id, one for each device; empty if the commit removed the lockfile."""
    problem: str | None = None
    """Why the lockfile of this revision cannot be read; it has no profiles then."""


@dataclass(frozen=True, slots=True)
class LockHistory:
    """The revisions in which a lockfile changed, the newest first; there is one at least."""

    path: Path
    revisions: tuple[Revision, ...]
    notes: tuple[str, ...] = ()
    """What of the history is not here, and why."""


def read_history(lock: Path, limit: int = MAX_REVISIONS) -> LockHistory:
    """Return the revisions of a lockfile: what is not committed, then commits, the newest first.

    The commits are those of the line of first parents; a merge stands for what it has brought.
    Renames of the file are followed. A lockfile that did not parse at a commit is a revision with a
    problem.

    lock: the lockfile; it need not exist any more.
    limit: the most commits that are read.

    Raises GitError where there is no git, no repository, or no commit with this file.
    """
    path = Path(os.path.realpath(lock))
    folder = next(one for one in path.parents if one.is_dir())
    is_shallow = run_git(folder, "rev-parse", "--is-shallow-repository").strip() == b"true"
    commits = commits_of(folder, str(path.relative_to(folder)), limit + 1)
    if not commits:
        raise GitError(_untracked(path))
    notes = []
    if len(commits) > limit:
        notes.append(f"only the newest {limit} commits that changed {shown_path(path)} are read")
    elif is_shallow:
        notes.append(
            "older commits are not here, because this is a shallow clone: "
            "`git fetch --unshallow` fetches them"
        )
    reader = _Reader(path)
    revisions = reader.committed(folder, commits[:limit])
    return LockHistory(path, (*reader.uncommitted(revisions[0]), *revisions), tuple(notes))


def _untracked(path: Path) -> str:
    shown = shown_path(path)
    if path.exists():
        return f"{shown} is in no commit of this branch, so it has no history: commit it first"
    return f"{shown} does not exist, and it is in no commit of this branch"


@dataclass(frozen=True, slots=True)
class _Content:
    profiles: Mapping[str, tuple[LockedProfile, ...]] = field(default_factory=dict)
    problem: str | None = None


class _Reader:
    """Reads what a lockfile holds and held."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parser = BlockParser()
        self._read_bytes = 0
        self._contents: dict[str, _Content] = {}

    def committed(self, folder: Path, commits: list[Commit]) -> list[Revision]:
        """Return the revision of each commit."""
        blobs = dict.fromkeys(one.blob for one in commits if one.blob is not None and one.is_file)
        known = sizes(folder, blobs)
        revisions = []
        with Objects(folder) as objects:
            for one in commits:
                content = self._at(one, known, objects)
                revisions.append(
                    Revision(
                        one.name,
                        one.date,
                        one.author,
                        one.subject,
                        one.path,
                        content.profiles,
                        content.problem,
                    )
                )
        return revisions

    def uncommitted(self, newest: Revision) -> list[Revision]:
        """Return the revision of the file as it is; none if the newest commit holds the same."""
        try:
            data = read_bounded(self._path, MAX_BYTES)
        except UnreadableFileError as error:
            now = _Content(problem=f"{shown_path(self._path)}: {error}")
        else:
            now = _Content() if data is None else self._parse(data)
        if (now.profiles, now.problem) == (newest.profiles, newest.problem):
            return []
        revision = Revision(
            None, None, path=newest.path, profiles=now.profiles, problem=now.problem
        )
        return [revision]

    def _at(self, commit: Commit, known: Mapping[str, int], objects: Objects) -> _Content:
        if commit.blob is None:
            return _Content()
        if not commit.is_file:
            return _Content(problem=f"{commit.path} is a link or a submodule there")
        if commit.blob not in self._contents:
            self._contents[commit.blob] = self._of_blob(commit.blob, known[commit.blob], objects)
        return self._contents[commit.blob]

    def _of_blob(self, blob: str, size: int, objects: Objects) -> _Content:
        if size > MAX_BYTES:
            return _Content(problem=f"larger than {MAX_BYTES // 2**20} MiB: this is no lockfile")
        self._read_bytes += size
        if self._read_bytes > _MAX_READ_BYTES or self._parser.parsed_chars > _MAX_PARSED_CHARS:
            return _Content(problem="not read: the newer lockfiles are too large together")
        return self._parse(objects.read(blob))

    def _parse(self, data: bytes) -> _Content:
        try:
            # Some editors put a byte order mark first.
            profiles = self._parser.parse(self._path, data.decode("utf-8-sig"))
        except UnicodeDecodeError:
            return _Content(problem=f"{shown_path(self._path)}: not UTF-8")
        except LockError as error:
            return _Content(problem=str(error))
        by_case: dict[str, tuple[LockedProfile, ...]] = {}
        for profile in profiles:
            by_case[profile.case_id] = (*by_case.get(profile.case_id, ()), profile)
        return _Content(by_case)
