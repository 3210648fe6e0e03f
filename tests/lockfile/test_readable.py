"""Profiles that nobody could read back, found without the text of a lockfile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from measurements import measurement

from harness.lockfile.profiles import Lock, LockedProfile, parse_lock
from harness.lockfile.readable import refuse_unreadable
from harness.lockfile.render import render
from harness.lockfile.toml_text import LockError, LockText

LOCK = Path("gpu-profile.lock")


def as_text(profile: LockedProfile) -> str | None:
    """Return why the text of a profile cannot be read, without its place; None if it can."""
    try:
        parse_lock(LockText(LOCK, render(Lock(LOCK, (profile,)))))
    except LockError as error:
        return str(error).partition(" ")[2]
    return None


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"samples_per_second": 12.5, "learning_rate": 3e-4},
        {"batch_size": 17, "max_batch_size": 16},
        {"batch_size": -1},
        {"max_batch_size": 1 << 2000, "batch_size": 1},
        {"learning_rate": float("nan")},
        {"learning_rate": -1.0},
        {"samples_per_second": float("inf")},
        {"peak_memory_bytes": -1},
        {"fingerprint": "\ud800\x00\u202e"},
        {"fingerprint": "x" * (1 << 19)},
        {"memory": {"parameter": -1}},
        {"axes": {"model": "a" * 400, "gpu": "cpu", "resolution": 1}},
        {"axes": {"model": "", "gpu": "cpu", "resolution": 1}},
    ],
    ids=",".join,
)
def test_what_is_refused_is_what_its_text_would_be_refused_for(values: dict[str, Any]) -> None:
    """The reason is the same, too."""
    profile = LockedProfile.from_measurement(measurement(**values))
    reason = None
    try:
        refuse_unreadable(profile)
    except LockError as error:
        reason = str(error).partition(" ")[2]
    assert as_text(profile) == reason
