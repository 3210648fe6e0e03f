"""Chooses the commits that a bisection tries, as `git bisect` does, by the graph of commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.git.commit_fields import FORMAT, OPTIONS, read_fields
from harness.git.program import GitError, run_git

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """What people know a commit by."""

    name: str
    """The full hash."""
    tree: str
    """The hash of its files: commits with equal trees hold the same."""
    date: datetime
    author: str
    subject: str


def resolve(top: Path, revision: str) -> CommitInfo:
    """Return the commit that a revision names.

    Raises HarnessError where there is none, as in a shallow clone.
    """
    try:
        # A revision that begins with a dash would be an option.
        name = run_git(
            top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
        )
    except GitError as error:
        shallow = run_git(top, "rev-parse", "--is-shallow-repository").strip() == b"true"
        more = "; this is a shallow clone: `git fetch --unshallow`" if shallow else ""
        raise HarnessError(f"{revision}: there is no such commit in {top}{more}") from error
    return info(top, name.decode("ascii").split()[-1])


def info(top: Path, name: str) -> CommitInfo:
    """Return what people know a commit by."""
    printed = run_git(
        top, "log", "--max-count=1", *OPTIONS, f"--format=%H%x00%T%x00{FORMAT}", name, "--"
    )
    full, tree, *fields = printed.decode("utf-8", "replace").split("\0")
    return CommitInfo(full, tree, *read_fields(*fields))


class Bisection:
    """The commits between good ones and a bad one, of which one is the first bad.

    Args:
        top: a folder in the repository.
        good: a commit that is good; an ancestor of `bad`.
        bad: a commit that is bad.

    Raises HarnessError where `good` is no ancestor of `bad`.

    """

    def __init__(self, top: Path, good: str, bad: str) -> None:
        self._top = top
        self._good = [good]
        self.bad = bad
        """The earliest commit that is known to be bad."""
        self._skipped: set[str] = set()
        self._stride = 0
        if good == bad:
            raise HarnessError(f"--good and --bad are the same commit, {good[:10]}")
        if not _is_ancestor(top, good, bad):
            raise HarnessError(
                f"--good {good[:10]} is no ancestor of --bad {bad[:10]}: {_advice(top, good, bad)}"
            )

    def candidates(self) -> list[str]:
        """Return the commits that may be the first bad one, the nearest to the middle first."""
        printed = run_git(
            self._top, "rev-list", "--bisect-all", self.bad, *(f"^{one}" for one in self._good)
        )
        return [line.split()[0] for line in printed.decode("ascii").splitlines()]

    def next(self) -> str | None:
        """Return the commit to try; None when only the first bad one, and skipped ones, are left.

        A stretch of commits that cannot be tried is left in growing strides.
        """
        free = [one for one in self.candidates() if one != self.bad and one not in self._skipped]
        if not free:
            return None
        return free[min(len(free) - 1, (1 << self._stride) - 1)]

    def tell(self, commit: str, *, good: bool | None) -> None:
        """Note a commit's answer; None skips it."""
        self._stride = self._stride + 1 if good is None else max(0, self._stride - 1)
        if good is None:
            self._skipped.add(commit)
        elif good:
            self._good.append(commit)
        else:
            self.bad = commit

    def last_good(self) -> list[str]:
        """Return the parents of the first bad commit, its first parent first."""
        printed = run_git(self._top, "rev-list", "--max-count=1", "--parents", self.bad)
        return printed.decode("ascii").split()[1:]


def _is_ancestor(top: Path, one: str, other: str) -> bool:
    count = run_git(top, "rev-list", "--count", "--max-count=1", one, f"^{other}")
    return count.strip() == b"0"


def _advice(top: Path, good: str, bad: str) -> str:
    try:
        base = run_git(top, "merge-base", good, bad).decode("ascii").strip()
    except GitError:
        return "they share no commit"
    return f"begin where both come from, --good {base[:10]}"
