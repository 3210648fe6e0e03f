"""Checks revisions out into temporary worktrees: the user's checkout, index and stash stay."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.git.program import GitError, run_git

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# A checkout of a large project takes minutes, from a slow disk.
_MAX_SECONDS = 900.0


@contextmanager
def worktree(top: Path, commit: str, links: Sequence[str] = ()) -> Iterator[Path]:
    """Check a commit out into a temporary folder, and remove that in the end.

    No hook runs, and no submodule is checked out. Filters run, as git-lfs's.

    top: the top of a checkout of the repository.
    links: paths below `top`, such as data, that the folder links to: what git does not have.

    Raises GitError where git refuses, and HarnessError for a link that cannot be made.
    """
    with tempfile.TemporaryDirectory(prefix="gpu-profile-", ignore_cleanup_errors=True) as folder:
        # Its name is that of the checkout: some projects import themselves by it.
        path = Path(folder).resolve() / (top.name or "project")
        try:
            run_git(
                top,
                *("worktree", "add", "--quiet", "--detach", "--force", str(path), commit),
                seconds=_MAX_SECONDS,
            )
            for link in links:
                _link(top, path, link)
            yield path
        finally:
            _remove(top, path)


def _remove(top: Path, path: Path) -> None:
    # Links first: nothing behind them may be removed.
    try:
        run_git(top, "worktree", "remove", "--force", "--force", str(path))
    except GitError:  # it was not made, or is damaged; what git notes of it goes with its folder
        shutil.rmtree(path, ignore_errors=True)
        run_git(top, "worktree", "prune", "--expire=now")


def _link(top: Path, path: Path, link: str) -> None:
    source, target = top / link, path / link
    if not Path(os.path.abspath(source)).is_relative_to(top):  # noqa: PTH100 - links stay links
        raise HarnessError(f"--link {link}: a path below {top} is needed")
    if not source.exists():
        raise HarnessError(f"--link {link}: there is no {source}")
    if target.is_dir() and not target.is_symlink() and not any(target.iterdir()):
        target.rmdir()  # of a submodule
    if target.exists() or target.is_symlink():
        return  # the commit has it
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.resolve(), target_is_directory=source.is_dir())
