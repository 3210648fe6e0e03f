"""Reads a lockfile as one commit has it."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import HarnessError
from harness.git.objects import Objects, sizes
from harness.git.program import GitError, run_git
from harness.lockfile.profiles import Lock, parse_lock
from harness.lockfile.toml_limits import MAX_BYTES
from harness.lockfile.toml_text import LockText
from harness.visible import one_line
from harness.wording import shown_path

_FILES = ("100644", "100755")


def lock_at(lock: Path, revision: str) -> Lock:
    """Return what a lockfile held at a commit; an empty lock if it was not there under its path.

    lock: the lockfile; it need not exist any more.
    revision: a branch, a tag, a hash, or what else git takes for a commit.

    Raises GitError where there is no git, no repository or no such commit, and HarnessError where
    what it held cannot be read.
    """
    path = Path(os.path.realpath(lock))
    folder = next(one for one in path.parents if one.is_dir())
    commit = _commit(folder, revision)
    where = f"{shown_path(path)} at {one_line(revision)}"
    name = str(path.relative_to(folder))
    listed = run_git(folder, "ls-tree", "-z", commit, "--", name).decode("utf-8", "replace")
    if not listed:
        return Lock(path)
    mode, _, blob = listed.partition("\t")[0].split(" ")
    if mode not in _FILES:
        raise HarnessError(f"{where}: is a link, a folder or a submodule there, and no lockfile")
    if sizes(folder, [blob])[blob] > MAX_BYTES:
        raise HarnessError(f"{where}: larger than {MAX_BYTES // 2**20} MiB: this is no lockfile")
    with Objects(folder) as objects:
        data = objects.read(blob)
    try:
        # Some editors put a byte order mark first.
        return parse_lock(LockText(path, data.decode("utf-8-sig")))
    except UnicodeDecodeError:
        raise HarnessError(f"{where}: not UTF-8") from None
    except HarnessError as error:
        raise HarnessError(f"{where} cannot be read: {error}") from error


def _commit(folder: Path, revision: str) -> str:
    """Return the full hash of a commit."""
    shown = one_line(revision)
    run_git(folder, "rev-parse", "--git-dir")  # its own words where there is no repository
    if not revision or revision.startswith("-") or "\0" in revision:
        raise GitError(f"{shown} is no name of a commit")
    try:
        found = run_git(folder, "rev-parse", "--verify", f"{revision}^{{commit}}")
    except GitError as error:
        raise GitError(
            f"{shown} is no commit of the repository of {shown_path(folder)} ({error}). A shallow "
            "clone has few: fetch it (`git fetch origin BRANCH`, or fetch-depth: 0 of "
            "actions/checkout), and name a branch of the remote as origin/BRANCH"
        ) from error
    return found.decode("ascii", "replace").strip()
