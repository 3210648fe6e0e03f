"""Reads a git repository by plumbing: no pager, hook, filter or network; every read has a bound.

The repository may be a stranger's. Runs in pytest's process and in the command, never in a probe.
Imports no library.
"""

from harness.git.objects import Objects
from harness.git.program import GitError, run_git

__all__ = ["GitError", "Objects", "run_git"]
