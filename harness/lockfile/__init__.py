"""Reads, writes, compares and merges the lockfile: the committed values as TOML.

Runs in pytest's process and in the command; training scripts only read. Never runs in a probe and
imports no torch. Exports only the names for reading, so that reading costs little.
"""

from harness.lockfile.profiles import Lock, LockedProfile, read_lock
from harness.lockfile.toml_text import LockError

__all__ = ["Lock", "LockError", "LockedProfile", "read_lock"]
