"""The verbs of the `gpu-profile` command. Each returns the exit code: 0, or 1 when something differs or fails."""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from harness import lock_merging, lock_writing
from harness.endings import WorkloadError
from harness.errors import HarnessError
from harness.fingerprint import workload_changes
from harness.lock_text import RELOCK, shown_path
from harness.lockfile import Lock, read_lock, same_device
from harness.matrix import load_matrix
from harness.measurement import DeviceIdentity
from harness.mistakes import nearest
from harness.predict.case import UNBOUNDED
from harness.profile import open_runner
from harness.progress import describe_probe
from harness.recipe import recipe
from harness.report.words import place
from harness.session import Session

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from harness.lock_diff import Change, Difference
    from harness.lockfile import LockedProfile
    from harness.matrix import Case
    from harness.probe import Description, ProbeRunner
    from harness.session import Paths

_ENVIRONMENT = "environment."
_DIGEST = "sha256:"
_SHOWN_DIGEST = len(_DIGEST) + 12


def check(_options: argparse.Namespace, paths: Paths) -> int:
    """Say of each case whether its profile is locked and up to date, and which profiles have no case."""
    session = Session(paths)
    checker = _Checker(session)
    cases = {case.id: case for case in session.cases}
    width = max(len(name) for name in (*cases, *(profile.case_id for profile in session.lock)))
    found: list[str] = []

    def tell(status: str, case_id: str, text: str) -> None:
        found.append(status)
        _say(f"{status:8}  {case_id:{width}}  {text}".rstrip())

    for case in session.cases:
        for status, text in checker.judge(case):
            tell(status, case.id, text)
    for profile in session.lock:
        where = cases.get(profile.case_id)
        if where is None:
            tell("orphaned", profile.case_id, "not in the matrix")
        elif not _describes(profile, where):
            was = place(profile.device, {})
            tell("orphaned", profile.case_id, f"locked on {was}, which is not its GPU now: remove its block")
    in_lock = f"{'' if session.lock.exists else 'the missing '}{shown_path(paths.lock)}"
    _say(f"{found.count('ok')} of {len(cases)} cases are locked and up to date in {in_lock}")
    if {"missing", "stale"} & {*found}:
        _say(f"lock what is missing or stale with: {RELOCK}")
    if any(profile.case_id not in cases for profile in session.lock):
        _say("remove what is not in the matrix with: gpu-profile prune")
    return int({*found} != {"ok"})


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
    _say(_plain(_field(profiles[0], options.field)))
    return 0


def diff(options: argparse.Namespace) -> int:
    """Say what differs between two lockfiles, in silence when nothing does."""
    old, new = _existing_lock(options.old), _existing_lock(options.new)
    differences = lock_writing.diff(old, new)
    for difference in differences:
        for line in _difference_lines(difference, new):
            _say(line)
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
        _say(f"{verb} {profile.case_id} on {place(profile.device, {})}")
    if not orphans:
        _say(f"nothing to remove: the matrix has the case of every profile in {shown_path(paths.lock)}")
    return 0


def merge(options: argparse.Namespace, paths: Paths) -> int:
    """Merge what other machines measured, or another branch's lock, into the lockfile."""
    before, after = lock_merging.merge_into(paths.lock, options.candidates, options.base)
    differences = lock_writing.diff(before, after)
    for difference in differences:
        for line in _difference_lines(difference, after):
            _say(line)
    if not differences:
        _say(f"nothing to merge: {shown_path(paths.lock)} holds it all")
    return 0


def probe(options: argparse.Namespace, paths: Paths) -> int:
    """Try one batch size with the case's own settings; its output is kept beside that of runs."""
    if options.batch_size < 1:
        raise HarnessError(f"--batch-size {options.batch_size} is not allowed; a whole number from 1")
    session = Session(paths)
    case = find_case(session, options.case, paths)
    device = session.device(case)
    session.prepare_results()
    # A folder of its own: the logs of the case's last run stay as they are.
    surroundings = replace(paths.surroundings, directory=paths.results / "probe")
    try:
        with device.hold(), open_runner(case, device, surroundings) as runner:
            validates = case.search.validation is True and runner.describe().validation
            done = runner.train(
                options.batch_size, steps=case.search.steps_per_trial, validation_steps=int(validates)
            )
    except WorkloadError as error:
        sys.stderr.write(error.detail)
        raise
    if (
        done.traceback and done.outcome != "dataset"
    ):  # raised by the loader of the probe, not by the user's code
        sys.stderr.write(done.traceback)
    _say(f"{case.id}: {describe_probe(done, runner.memory_limit_bytes)}")
    _say(f"output: {shown_path(Path(done.log or ''))}")
    return int(done.outcome != "fits")


def find_case(session: Session, name: str, paths: Paths) -> Case:
    """Return the case of this id; raises HarnessError naming the nearest one."""
    cases = {case.id: case for case in session.cases}
    if name not in cases:
        known = nearest(name, cases, "cases")
        raise HarnessError(f"{shown_path(paths.matrix)} has no case {name}; {known}")
    return cases[name]


@contextmanager
def open_unbounded(paths: Paths, case: Case) -> Iterator[ProbeRunner]:
    """Open a case's zygote on the CPU where nothing is trained that takes memory: without a limit, and without logs."""
    with tempfile.TemporaryDirectory() as folder:
        surroundings = replace(paths.surroundings, directory=Path(folder))
        with open_runner(case, UNBOUNDED, surroundings) as runner:
            yield runner


class _Checker:
    """Compares cases with their profiles; builds each workload once, on the CPU, and trains nothing."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._built: dict[str, Description | WorkloadError] = {}

    def judge(self, case: Case) -> list[tuple[str, str]]:
        """Return what there is to say of a case: `ok`, `missing`, `stale` or `broken`, and why."""
        profiles = [profile for profile in self.session.lock if _describes(profile, case)]
        if not profiles:
            return [("missing", "never locked")]
        built = self._build(case)
        if isinstance(built, WorkloadError):
            what = str(built).partition("; its output")[0]
            return [("broken", f"{what}; see: gpu-profile probe {case.id} --batch-size 1")]
        reasons = [reason for profile in profiles for reason in _why_stale(profile, case, built)]
        predicted = all(profile.source == "predicted" for profile in profiles)
        return [("stale", reason) for reason in reasons] or [
            ("ok", "predicted, never measured" if predicted else "")
        ]

    def _build(self, case: Case) -> Description | WorkloadError:
        key = json.dumps([case.workload, case.trainer], sort_keys=True)
        if key not in self._built:
            try:
                with open_unbounded(self.session.paths, case) as runner:
                    self._built[key] = runner.describe()
            except WorkloadError as error:
                self._built[key] = error
        return self._built[key]


def _describes(profile: LockedProfile, case: Case) -> bool:
    """Say whether a profile locks this case on a device that its GPU label stands for."""
    gpu = case.device
    name = gpu.name if gpu.name is not None else "cpu"
    budget = DeviceIdentity(profile.device.name, gpu.budget or profile.device.memory_bytes)
    return (
        profile.axes == case.axes
        and fnmatchcase(profile.device.name, name)
        and same_device(profile.device, budget)
    )


def _why_stale(profile: LockedProfile, case: Case, built: Description) -> list[str]:
    reasons = []
    if profile.fingerprint != built.fingerprint:
        reasons.append(_because("another workload", workload_changes(profile.workload, built.workload)))
    # The environment was the locking machine's: what is compared is the matrix's part of the recipe.
    locked = {name: value for name, value in profile.settings.items() if name.startswith(_ENVIRONMENT)}
    current = recipe(case, {_unquoted(name): value for name, value in locked.items()})
    if profile.recipe != current.digest:
        reasons.append(_because("another recipe", workload_changes(profile.settings, current.settings)))
    return reasons


def _because(what: str, changes: Iterable[str]) -> str:
    return f"locked with {what}: {', '.join(changes) or 'by a version of this harness that recorded it otherwise'}"


def _unquoted(name: str) -> str:
    """Return a variable's name out of `environment.NAME`, where the recipe quotes one that has dots."""
    name = name.removeprefix(_ENVIRONMENT)
    try:
        return str(json.loads(name)) if name.startswith('"') else name
    except ValueError:  # written by hand
        return name


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


def _say(text: str) -> None:
    # Flushed: `check` builds for seconds between two lines.
    print(text, flush=True)  # noqa: T201 - what the command is for
