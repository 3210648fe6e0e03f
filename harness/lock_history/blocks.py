"""Parses many revisions of one lockfile: a block that did not change is parsed once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from harness.lockfile.index import Index
from harness.lockfile.profiles import VERSION, Lock, LockedProfile, lock_in_use, parse_lock
from harness.lockfile.toml_text import LockError, LockText

if TYPE_CHECKING:
    from pathlib import Path

# As gpu-profile writes it. Blocks that are written in another way are parsed with the whole text.
_HEADER = re.compile(r"^(?=\[\[profile\]\]$)", re.MULTILINE)
_HEAD = f"version = {VERSION}\n"


class BlockParser:
    """Parses texts of lockfiles, and keeps the profile of each block of text that it has seen."""

    def __init__(self) -> None:
        self._profiles: dict[str, LockedProfile | None] = {}
        self.parsed_chars = 0
        """What has been parsed so far; kept blocks cost nothing."""

    def parse(self, path: Path, text: str) -> tuple[LockedProfile, ...]:
        """Return the profiles of a lockfile's text, as `parse_lock` of the whole text does.

        Raises LockError as that does.
        """
        whole = LockText(path, text)
        known = lock_in_use(whole)
        profiles = self._by_blocks(path, text) if known is None else known.profiles
        if profiles is None:
            self.parsed_chars += len(text)
            return parse_lock(whole).profiles
        return profiles

    def _by_blocks(self, path: Path, text: str) -> tuple[LockedProfile, ...] | None:
        """Return the profiles; None where only the whole text tells what it holds, or its error."""
        head, *blocks = _HEADER.split(text)
        if head.strip() != _HEAD.strip() or not text.endswith("\n"):
            return None
        found = []
        for block in blocks:
            profile = self._of_block(path, block)
            if profile is None:
                return None
            found.append(profile)
        index: Index[LockedProfile] = Index()
        for profile in found:
            if index.matching(profile.axes, profile.device):
                return None  # locked twice
            index.add(profile)
        return tuple(found)

    def _of_block(self, path: Path, block: str) -> LockedProfile | None:
        """Return the one profile of a block; None where the block is anything else."""
        if block not in self._profiles:
            self.parsed_chars += len(block)
            self._profiles[block] = self._parsed(path, block)
        return self._profiles[block]

    def _parsed(self, path: Path, block: str) -> LockedProfile | None:
        try:
            lock: Lock = parse_lock(LockText(path, _HEAD + block))
        except LockError:
            return None
        # A table of its own behind the profile may stand in another block again.
        return lock.profiles[0] if len(lock) == 1 and not lock.extra else None
