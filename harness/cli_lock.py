"""The verbs of `gpu-profile` that read and write lockfiles: `show`, `diff`, `prune`, `merge`. They return the exit code."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import tomli_w

from harness import lock_merging, lock_writing
from harness.cli_probe import say
from harness.errors import HarnessError
from harness.lock_text import RELOCK, shown_path
from harness.lockfile import Lock, read_lock
from harness.matrix import load_matrix
from harness.mistakes import nearest
from harness.report.words import place

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from harness.lock_diff import Change, Difference
    from harness.lockfile import LockedProfile
    from harness.session import Paths

_DIGEST = "sha256:"
_SHOWN_DIGEST = len(_DIGEST) + 12


def show(options: argparse.Namespace, paths: Paths) -> int:
    """Print a locked profile as it stands in the lockfile, or one of its values."""
    lock = _existing_lock(paths.lock)
    profiles = lock.of_case(options.case)
    if not profiles:
        known = nearest(options.case, dict.fromkeys(profile.case_id for profile in lock), "locked cases")
        raise HarnessError(f"{shown_path(lock.path)} holds no profile of {options.case}; {known}")
    if options.field is None:
        sys.stdout.write(lock_writing.render(replace(lock, profiles=tuple(profiles))))
        return 0
    if len(profiles) > 1:
        raise HarnessError(
            f"{options.case} is locked on several devices: "
            f"{'; '.join(place(profile.device, {}) for profile in profiles)}; print it without --field"
        )
    say(_plain(_field(profiles[0], options.field)))
    return 0


def diff(options: argparse.Namespace) -> int:
    """Say what differs between two lockfiles, in silence when nothing does."""
    old, new = _existing_lock(options.old), _existing_lock(options.new)
    differences = lock_writing.diff(old, new)
    for difference in differences:
        for line in _difference_lines(difference, new):
            say(line)
    return int(bool(differences))


def prune(options: argparse.Namespace, paths: Paths) -> int:
    """Remove the profiles whose case is not in the matrix."""
    keep = {case.id for case in load_matrix(paths.matrix, search_path=paths.module_path).cases}
    lock = _existing_lock(paths.lock)
    if options.dry_run:
        orphans = tuple(profile for profile in lock if profile.case_id not in keep)
    else:
        orphans = lock_writing.prune(paths.lock, keep)
    for profile in orphans:
        verb = "would remove" if options.dry_run else "removed"
        say(f"{verb} {profile.case_id} on {place(profile.device, {})}")
    if not orphans:
        say(f"nothing to remove: the matrix has the case of every profile in {shown_path(paths.lock)}")
    return 0


def merge(options: argparse.Namespace, paths: Paths) -> int:
    """Merge what other machines measured, or another branch's lock, into the lockfile."""
    before, after = lock_merging.merge_into(paths.lock, options.candidates, options.base)
    differences = lock_writing.diff(before, after)
    for difference in differences:
        for line in _difference_lines(difference, after):
            say(line)
    if not differences:
        say(f"nothing to merge: {shown_path(paths.lock)} holds it all")
    return 0


def _existing_lock(path: Path) -> Lock:
    """Read a lock of which something is asked, so that it must be there."""
    lock = read_lock(path)
    if not lock.exists:
        raise HarnessError(f"{shown_path(path)} does not exist; {RELOCK} makes a lockfile")
    return lock


def _field(profile: LockedProfile, name: str) -> Any:
    """Find a value by its name in the lockfile, after a dot in a table: `device.name`, `settings.gpu.budget`."""
    block = lock_writing.block(profile)
    table, _, key = name.partition(".")
    names = {
        f"{outer}.{inner}": value
        for outer, values in block.items()
        if isinstance(values, dict)
        for inner, value in values.items()
    }
    names |= block
    if name in names:
        return names[name]
    if name == "learning_rate" and profile.lr_refusal:
        raise HarnessError(f"{profile.case_id} has no learning rate: {profile.lr_refusal}")
    known = [other for other in names if other.startswith(f"{table}.")] if key and table in block else block
    raise HarnessError(f"the profile of {profile.case_id} has no {name}; {nearest(name, known, 'fields')}")


def _plain(value: Any) -> str:
    """Return a value as the lockfile spells it, but text without quotes."""
    if isinstance(value, dict):
        return tomli_w.dumps(value).rstrip()
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _difference_lines(difference: Difference, new: Lock) -> list[str]:
    """Put one difference into lines: the profile, then its changed values in columns."""
    title = f"{difference.case_id} on {place(difference.device, {})}"
    if difference.kind == "added":
        profile = next(one for one in new.of_case(difference.case_id) if one.device == difference.device)
        values = lock_writing.block(profile)
        shown = [
            f"{name} {values[name]}" for name in ("source", "batch_size", "learning_rate") if name in values
        ]
        return [f"{title}: added, {', '.join(shown)}"]
    if difference.kind == "removed":
        return [f"{title}: removed"]
    name_width = max(len(change.name) for change in difference.changes)
    rows = [(f"  {change.name:{name_width}}  {_transition(change)}", change) for change in difference.changes]
    width = max((len(text) for text, change in rows if change.relative is not None), default=0)
    lines = [
        text if change.relative is None else f"{text:{width}}  {change.relative:+.1%}"
        for text, change in rows
    ]
    return [title, *lines]


def _transition(change: Change) -> str:
    return f"{_shortened(change.old)} -> {_shortened(change.new)}"


def _shortened(value: Any) -> str:
    """Return a value as the lockfile spells it, of a digest the beginning."""
    text = "none" if value is None else _plain(value)
    return f"{text[:_SHOWN_DIGEST]}…" if text.startswith(_DIGEST) and len(text) > _SHOWN_DIGEST else text
