"""The verb `gpu-profile check`: compares the lockfile with the matrix and the workloads."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from harness.cli.common import open_unbounded, say
from harness.errors import WorkloadError
from harness.identity.fingerprint import mapping_changes, workload_changes
from harness.identity.recipe import recipe
from harness.lockfile.profiles import read_lock
from harness.measurement import DeviceIdentity
from harness.report.words import place
from harness.visible import one_line
from harness.wording import RELOCK, shown_path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from harness.lockfile.profiles import Lock, LockedProfile
    from harness.matrix.case import Case
    from harness.probes.description import Description
    from harness.run.paths import Paths

_ENVIRONMENT = "environment."


def check(_options: argparse.Namespace, paths: Paths) -> int:
    """Print whether each case is locked and up to date, and which profiles have no case.

    Returns 1 when a case or a profile is not `ok`.
    """
    cases = {case.id: case for case in paths.cases()}
    lock = read_lock(paths.lock)
    checker = _Checker(paths, lock)
    width = max(len(name) for name in (*cases, *(profile.case_id for profile in lock)))
    found: list[str] = []

    def tell(status: str, case_id: str, text: str) -> None:
        found.append(status)
        say(one_line(f"{status:8}  {case_id:{width}}  {text}".rstrip()))

    for case in cases.values():
        for status, text in checker.judge(case):
            tell(status, case.id, text)
    for profile in lock:
        where = cases.get(profile.case_id)
        if where is None:
            tell("orphaned", profile.case_id, "not in the matrix")
        elif not _describes(profile, where):
            was = place(profile.device, {})
            tell(
                "orphaned",
                profile.case_id,
                f"locked on {was}, which its GPU label no longer matches: remove the block",
            )
    in_lock = f"{'' if lock.exists else 'the missing '}{shown_path(paths.lock)}"
    say(f"{found.count('ok')} of {len(cases)} cases are locked and up to date in {in_lock}")
    if {"missing", "stale"} & {*found}:
        say(f"lock what is missing or stale with: {RELOCK}{paths.pytest_flags}")
    if any(profile.case_id not in cases for profile in lock):
        say(f"remove what is not in the matrix with: gpu-profile prune{paths.verb_flags}")
    return int({*found} != {"ok"})


class _Checker:
    """Compares cases with their profiles; builds each workload once, on the CPU."""

    def __init__(self, paths: Paths, lock: Lock) -> None:
        self._paths = paths
        self._lock = lock
        self._built: dict[str, Description | WorkloadError] = {}

    def judge(self, case: Case) -> list[tuple[str, str]]:
        """Return the findings on a case: `ok`, `missing`, `stale` or `broken`, with the reason."""
        profiles = [one for one in self._lock.of_case(case.id) if _describes(one, case)]
        if not profiles:
            return [("missing", "never locked")]
        built = self._build(case)
        if isinstance(built, WorkloadError):
            what = str(built).partition("; its output")[0]
            probe = f"gpu-profile probe {case.id} --batch-size 1{self._paths.verb_flags}"
            return [("broken", f"{what}; see: {probe}")]
        reasons = [reason for profile in profiles for reason in _why_stale(profile, case, built)]
        predicted = all(profile.source == "predicted" for profile in profiles)
        return [("stale", reason) for reason in reasons] or [
            ("ok", "predicted, never measured" if predicted else "")
        ]

    def _build(self, case: Case) -> Description | WorkloadError:
        key = json.dumps([case.workload, case.trainer], sort_keys=True)
        if key not in self._built:
            try:
                with open_unbounded(self._paths, case) as opened:
                    self._built[key] = opened.description
            except WorkloadError as error:
                self._built[key] = error
        return self._built[key]


def _describes(profile: LockedProfile, case: Case) -> bool:
    """Return whether a profile locks this case on a device that its GPU label matches."""
    gpu = case.device
    name = gpu.name if gpu.name is not None else "cpu"
    budget = DeviceIdentity(profile.device.name, gpu.budget or profile.device.memory_bytes)
    return (
        profile.axes == case.axes
        and fnmatchcase(profile.device.name, name)
        and profile.device.matches(budget)
    )


def _why_stale(profile: LockedProfile, case: Case, built: Description) -> list[str]:
    reasons = []
    if profile.fingerprint != built.fingerprint:
        reasons.append(
            _because("another workload", workload_changes(profile.workload, built.workload))
        )
    # The environment is that of the machine that locked the case. With the same environment on both
    # sides, only the matrix's part of the recipe is compared.
    locked = {
        name: value for name, value in profile.settings.items() if name.startswith(_ENVIRONMENT)
    }
    current = recipe(case, {_unquoted(name): value for name, value in locked.items()})
    if profile.recipe != current.digest:
        reasons.append(
            _because("another recipe", mapping_changes(profile.settings, current.settings))
        )
    return reasons


def _because(what: str, changes: Iterable[str]) -> str:
    named = ", ".join(changes) or "by a version of gpu-profile that recorded it differently"
    return f"locked with {what}: {named}"


def _unquoted(name: str) -> str:
    """Return NAME of `environment.NAME`; the recipe quotes a name that has dots."""
    name = name.removeprefix(_ENVIRONMENT)
    try:
        return str(json.loads(name)) if name.startswith('"') else name
    except ValueError:  # written by hand
        return name
