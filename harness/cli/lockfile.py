"""The verbs of `gpu-profile` that read and write lockfiles: `show`, `diff`, `prune`, `merge`.

The words of a difference are also those of `review`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import tomli_w

from harness.cli.answers.answer import Answer
from harness.cli.common import say
from harness.cli.lock_documents import changes_data, difference_data
from harness.cli.showing.memory import show_memory
from harness.errors import HarnessError
from harness.lockfile import diff as lock_diff
from harness.lockfile import merge as lock_merge
from harness.lockfile import write as lock_write
from harness.lockfile.profiles import Lock, read_lock
from harness.lockfile.render import block, render
from harness.report.json_report import without_extra
from harness.report.words import place
from harness.visible import cut, one_line
from harness.wording import RELOCK, nearest, shown_path, typed_path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from harness.cli.lock_documents import (
        DiffDocument,
        MergeDocument,
        PruneDocument,
        ShowDocument,
    )
    from harness.lockfile.diff import Change, Difference
    from harness.lockfile.profiles import LockedProfile
    from harness.run.paths import Paths

_DIGEST = "sha256:"
_LARGEST_SHARE = 100.0
_SHOWN_DIGEST = len(_DIGEST) + 12


def show(options: argparse.Namespace, paths: Paths) -> Answer:
    """Print a locked profile as it stands in the lockfile, or one of its values."""
    lock = existing_lock(paths.lock)
    profiles = lock.of_case(options.case)
    if not profiles:
        known = nearest(
            options.case, dict.fromkeys(profile.case_id for profile in lock), "locked cases"
        )
        raise HarnessError(f"{shown_path(lock.path)} holds no profile of {options.case}; {known}")
    document: ShowDocument = {
        "case": options.case,
        "profiles": [without_extra(profile) for profile in profiles],
        "field": options.field,
        "value": None,
        "memory": None,
    }
    if options.memory:
        document["memory"] = show_memory(profiles, paths)
        return Answer(0, document)
    if options.field is None:
        say(render(replace(lock, profiles=tuple(profiles))).rstrip("\n"))
        return Answer(0, document)
    if len(profiles) > 1:
        raise HarnessError(
            f"{options.case} is locked on several devices: "
            f"{'; '.join(place(profile.device, {}) for profile in profiles)}; "
            "print it without --field"
        )
    document["value"] = _field(profiles[0], options.field)
    say(_plain(document["value"]))
    return Answer(0, document)


def diff(options: argparse.Namespace) -> Answer:
    """Print what differs between two lockfiles; print nothing when they are equal."""
    old, new = existing_lock(options.old), existing_lock(options.new)
    document: DiffDocument = {
        "old": typed_path(options.old),
        "new": typed_path(options.new),
        "differences": [difference_data(one) for one in lock_diff.diff(old, new)],
        "other_changes": changes_data(lock_diff.changes_of_other_keys(old, new)),
    }
    return Answer(int(_say_differences(old, new)), document)


def prune(options: argparse.Namespace, paths: Paths) -> Answer:
    """Remove the profiles whose case is not in the matrix."""
    keep = {case.id for case in paths.cases()}
    lock = existing_lock(paths.lock)
    if options.dry_run:
        orphans = tuple(profile for profile in lock if profile.case_id not in keep)
    else:
        orphans = lock_write.prune(paths.lock, keep)
    for profile in orphans:
        verb = "would remove" if options.dry_run else "removed"
        say(f"{verb} {profile.case_id} on {place(profile.device, {})}")
    if not orphans:
        say(
            f"nothing to remove: the matrix has the case of every profile in "
            f"{shown_path(paths.lock)}"
        )
    document: PruneDocument = {
        "lock": typed_path(paths.lock),
        "dry_run": options.dry_run,
        "removed": [{"case": one.case_id, "device": one.device} for one in orphans],
    }
    return Answer(0, document)


def merge(options: argparse.Namespace, paths: Paths) -> Answer:
    """Merge candidates of other machines, or another branch's lockfile, into the lockfile."""
    before, after = lock_merge.merge_into(paths.lock, options.candidates, options.base)
    if not _say_differences(before, after):
        say(f"nothing to merge: {shown_path(paths.lock)} holds it all")
    document: MergeDocument = {
        "lock": typed_path(paths.lock),
        "differences": [difference_data(one) for one in lock_diff.diff(before, after)],
        "other_changes": changes_data(lock_diff.changes_of_other_keys(before, after)),
    }
    return Answer(0, document)


def _say_differences(old: Lock, new: Lock) -> bool:
    """Print what differs between two locks; return whether anything does."""
    differences = lock_diff.diff(old, new)
    for difference in differences:
        say("\n".join(difference_lines(difference)))
    others = lock_diff.changes_of_other_keys(old, new)
    if others:
        say("\n".join(["keys that this gpu-profile does not know", *change_lines(others)]))
    return bool(differences or others)


def existing_lock(path: Path) -> Lock:
    """Read a lockfile that must exist. Raises HarnessError when it does not."""
    lock = read_lock(path)
    if not lock.exists:
        raise HarnessError(f"{shown_path(path)} does not exist; {RELOCK} makes a lockfile")
    return lock


def _field(profile: LockedProfile, name: str) -> Any:
    """Return the value of a name in the lockfile; a dot leads into a table: `device.name`."""
    values = block(profile)
    table, _, key = name.partition(".")
    # Last the tables: no unknown key `"device.name"` stands for the name in the table `device`.
    names = values | {
        f"{outer}.{inner}": value
        for outer, table_values in values.items()
        if isinstance(table_values, dict)
        for inner, value in table_values.items()
    }
    if name in names:
        return names[name]
    if name == "learning_rate" and profile.lr_refusal:
        raise HarnessError(
            f"{profile.case_id} has no learning rate: {one_line(profile.lr_refusal)}"
        )
    known = (
        [other for other in names if other.startswith(f"{table}.")]
        if key and table in values
        else values
    )
    raise HarnessError(
        f"the profile of {profile.case_id} has no {name}; {nearest(name, known, 'fields')}"
    )


def _plain(value: Any) -> str:
    """Return a value as the lockfile spells it, except that text has no quotes."""
    if isinstance(value, dict):
        return tomli_w.dumps(value).rstrip()
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return one_line(text)


def difference_lines(difference: Difference) -> list[str]:
    """Return the lines of one difference: the profile, then its changed values in columns."""
    title = f"{difference.case_id} on {place(difference.device, {})}"
    if difference.kind == "added":
        values = block(difference.profile)
        shown = [
            f"{name} {values[name]}"
            for name in ("source", "batch_size", "learning_rate")
            if name in values
        ]
        return [f"{title}: added, {', '.join(shown)}"]
    if difference.kind == "removed":
        return [f"{title}: removed"]
    return [title, *change_lines(difference.changes)]


def change_lines(changes: Sequence[Change]) -> list[str]:
    """Return a line for each changed value, in columns."""
    named = [(cut(change.name), change) for change in changes]
    name_width = max(len(name) for name, _ in named)
    rows = [(f"  {name:{name_width}}  {_transition(change)}", change) for name, change in named]
    width = max((len(text) for text, change in rows if _has_share(change)), default=0)
    return [
        f"{text:{width}}  {change.relative:+.1%}" if _has_share(change) else text
        for text, change in rows
    ]


def _has_share(change: Change) -> bool:
    """Return whether a change says more as a share: from 12 bytes to 300 MB none does."""
    return change.relative is not None and change.relative < _LARGEST_SHARE


def _transition(change: Change) -> str:
    return f"{_shortened(change.old)} -> {_shortened(change.new)}"


def _shortened(value: Any) -> str:
    """Return a value as the lockfile spells it; a digest is cut to its beginning."""
    text = "none" if value is None else _plain(value)
    if text.startswith(_DIGEST) and len(text) > _SHOWN_DIGEST:
        return f"{text[:_SHOWN_DIGEST]}…"
    return cut(text)
