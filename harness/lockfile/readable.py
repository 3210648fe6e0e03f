"""Tells whether a profile could be read back from a lockfile, without writing its text. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.lockfile.block_reader import Block
from harness.lockfile.profiles import Lock, parse_lock, read_profile
from harness.lockfile.render import block, render
from harness.lockfile.toml_limits import excess_of
from harness.lockfile.toml_text import LockText

if TYPE_CHECKING:
    from harness.lockfile.profiles import LockedProfile

_NOWHERE = Path("gpu-profile.lock")
_MANY = 10_000
"""Characters or values: more of them may be too many for a line or for a file."""


def refuse_unreadable(profile: LockedProfile) -> None:
    """Raise LockError for a profile that would keep a whole lockfile from being read.

    Its text is written only if it may be too long: a run may have ten thousand of them.
    """
    text = LockText(_NOWHERE, "")
    table = _as_parsed(block(profile))
    if _is_long(table):
        parse_lock(LockText(_NOWHERE, render(Lock(_NOWHERE, (profile,)))))
        return
    if problem := excess_of(table):
        text.fail(problem)
    read_profile(Block(text, 0, table))


def _as_parsed(value: Any) -> Any:
    """Return a value as TOML's parser makes it, which knows lists alone."""
    if isinstance(value, dict):
        return {key: _as_parsed(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_as_parsed(one) for one in value]
    return value


def _is_long(value: Any) -> bool:
    if isinstance(value, dict):
        return len(value) > _MANY or any(map(_is_long, value)) or any(map(_is_long, value.values()))
    if isinstance(value, list):
        return len(value) > _MANY or any(map(_is_long, value))
    return isinstance(value, str) and len(value) > _MANY
