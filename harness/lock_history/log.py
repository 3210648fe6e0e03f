"""Lists the commits that changed a file, through its renames, and names what it held at each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness.git.program import GitError, run_git

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Of a subject and of a name. Git itself cuts them by their width, so that one commit cannot fill
# the memory; characters without a width are cut here.
_MAX_TEXT = 200
_FORMAT = f"%H%x00%ct%x00%<({_MAX_TEXT},trunc)%an%x00%<({_MAX_TEXT},trunc)%s"
_FIELDS = 4
_FILES = ("100644", "100755")
_GONE = "000000"
# The last second that `datetime` knows, of the year 9999.
_LAST_SECOND = 253_402_300_799


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
        "--no-color",
        "--no-mailmap",
        "--no-show-signature",
        "--encoding=UTF-8",
        f"--format={_FORMAT}",
        "--",
        name,
    )
    return list(_read(iter(printed.decode("utf-8", "replace").split("\0"))))


def _read(parts: Iterator[str]) -> Iterator[Commit]:
    part = next(parts, "")
    while part:
        commit, seconds, author, subject = (part, *(next(parts, "") for _ in range(_FIELDS - 1)))
        if not seconds.isdigit():
            raise GitError(f"`git log` prints what is no log: {part[:80]!r}")
        part = next(parts, "")
        while part.startswith("\n:"):
            # ":MODE MODE BLOB BLOB STATUS", then one path, or two for a rename.
            _, mode, _, blob, status = part.removeprefix("\n").split(" ")
            paths = [next(parts, "") for _ in range(2 if status[:1] in ("R", "C") else 1)]
            yield Commit(
                commit,
                datetime.fromtimestamp(min(int(seconds), _LAST_SECOND), UTC),
                author[:_MAX_TEXT].strip(),
                subject[:_MAX_TEXT].strip(),
                paths[-1],
                None if mode == _GONE else blob,
                is_file=mode in _FILES,
            )
            part = next(parts, "")
