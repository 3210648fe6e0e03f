"""Reads what a lockfile held at each commit of its git repository.

Runs in pytest's process and in the command; runs no code of the repository. May import `lockfile`
and `git`.
"""

from harness.lock_history.at_commit import lock_at
from harness.lock_history.revisions import LockHistory, Revision, read_history

__all__ = ["LockHistory", "Revision", "lock_at", "read_history"]
