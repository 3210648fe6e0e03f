"""The verb `gpu-profile check`: whether each case is locked, and as its workload and the matrix are now."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from harness.cli_probe import open_unbounded, say
from harness.endings import WorkloadError
from harness.fingerprint import workload_changes
from harness.lock_text import RELOCK, shown_path
from harness.lockfile import same_device
from harness.measurement import DeviceIdentity
from harness.recipe import recipe
from harness.report.words import place
from harness.session import Session

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from harness.lockfile import LockedProfile
    from harness.matrix import Case
    from harness.probe import Description
    from harness.session import Paths

_ENVIRONMENT = "environment."


def check(_options: argparse.Namespace, paths: Paths) -> int:
    """Say of each case whether its profile is locked and up to date, and which profiles have no case."""
    session = Session(paths)
    checker = _Checker(session)
    cases = {case.id: case for case in session.cases}
    width = max(len(name) for name in (*cases, *(profile.case_id for profile in session.lock)))
    found: list[str] = []

    def tell(status: str, case_id: str, text: str) -> None:
        found.append(status)
        say(f"{status:8}  {case_id:{width}}  {text}".rstrip())

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
    say(f"{found.count('ok')} of {len(cases)} cases are locked and up to date in {in_lock}")
    if {"missing", "stale"} & {*found}:
        say(f"lock what is missing or stale with: {RELOCK}")
    if any(profile.case_id not in cases for profile in session.lock):
        say("remove what is not in the matrix with: gpu-profile prune")
    return int({*found} != {"ok"})


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
