"""Lists the commits that changed a file, through its renames, and names what it held at each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.git.commit_fields import FORMAT, OPTIONS, read_fields
from harness.git.program import GitError, run_git

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

_FIELDS = 4
_FILES = ("100644", "100755")
_GONE = "000000"


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that changed the file."""

    name: str
    """The full hash."""
    date: datetime
    """When it was committed, in UTC."""
    author: str
    subject: str
    path: str
    """The file's path in this commit, from the top of the repository."""
    blob: str | None
    """The object with the file's content; None if the commit removed the file."""
    is_file: bool
    """False for a link or a submodule in the file's place."""


def commits_of(folder: Path, name: str, limit: int) -> list[Commit]:
    """Return the commits that changed a file, the newest first, at most `limit`.

    They are those on the first parents' line: each is the state of this branch, and the commit
    before it in the list is what it changed. A merge stands for what it has brought.

    folder: a folder in the repository.
    name: the file's path from there; it need not exist any more.

    Raises GitError as `run_git` does.
    """
    printed = run_git(
        folder,
        "log",
        "-z",
        f"--max-count={limit}",
        "--first-parent",
        "-m",  # what a merge has brought; with the line above that is against the first parent
        "--follow",
        "--raw",
        "--no-abbrev",
        "--no-ext-diff",
        "--no-textconv",
        *OPTIONS,
        f"--format=%H%x00{FORMAT}",
        "--",
        name,
    )
    return list(_read(iter(printed.decode("utf-8", "replace").split("\0"))))


def _read(parts: Iterator[str]) -> Iterator[Commit]:
    part = next(parts, "")
    while part:
        commit, *fields = (part, *(next(parts, "") for _ in range(_FIELDS - 1)))
        try:
            date, author, subject = read_fields(*fields)
        except ValueError as error:
            raise GitError(f"`git log` prints what is no log: {part[:80]!r}") from error
        part = next(parts, "")
        while part.startswith("\n:"):
            # ":MODE MODE BLOB BLOB STATUS", then one path, or two for a rename.
            _, mode, _, blob, status = part.removeprefix("\n").split(" ")
            paths = [next(parts, "") for _ in range(2 if status[:1] in ("R", "C") else 1)]
            yield Commit(
                commit,
                date,
                author,
                subject,
                paths[-1],
                None if mode == _GONE else blob,
                is_file=mode in _FILES,
            )
            part = next(parts, "")
