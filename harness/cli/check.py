"""The verb `gpu-profile check`: compares the lockfile with the matrix and the workloads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from typing_extensions import TypedDict

from harness.check.locked_cases import LockedCases, describes
from harness.cli.answers.answer import Answer
from harness.cli.common import say
from harness.cli.lockfile import existing_lock
from harness.errors import WorkloadError
from harness.lockfile.profiles import read_lock
from harness.report.words import count, place
from harness.visible import one_line
from harness.wording import RELOCK, shown_path, typed_path

if TYPE_CHECKING:
    import argparse

    from harness.matrix.case import Case
    from harness.run.paths import Paths


Status = Literal["ok", "missing", "stale", "broken", "orphaned"]
"""`broken`: the workload cannot be built; `orphaned`: the matrix has no case for the profile."""


class CheckFinding(TypedDict):
    """A finding on one case, or on a profile without a case."""

    case: str
    status: Status
    message: str | None


class CheckDocument(TypedDict):
    """The answer of `check`."""

    matrix: str
    lock: str
    lock_exists: bool
    num_cases: int
    """Cases of the matrix; 0 under `--lock-only`, which reads none."""
    num_ok: int
    """Those that are locked and up to date."""
    findings: list[CheckFinding]
    """The cases in the order of the matrix, then profiles without a case. A stale case may have
    several."""


def check(options: argparse.Namespace, paths: Paths) -> Answer:
    """Print whether each case is locked and up to date, and which profiles have no case.

    The exit code is 1 when a case or a profile is not `ok`.
    """
    if options.lock_only:
        return _check_lock(paths)
    cases = {case.id: case for case in paths.cases()}
    lock = read_lock(paths.lock)
    locked = LockedCases(lock, lambda: paths.surroundings)
    width = max(len(name) for name in (*cases, *(profile.case_id for profile in lock)))
    findings: list[CheckFinding] = []

    def tell(status: Status, case_id: str, text: str) -> None:
        findings.append({"case": case_id, "status": status, "message": text or None})
        say(one_line(f"{status:8}  {case_id:{width}}  {text}".rstrip()))

    for case in cases.values():
        for status, text in _judge(case, locked, paths):
            tell(status, case.id, text)
    for profile in lock:
        where = cases.get(profile.case_id)
        if where is None:
            tell("orphaned", profile.case_id, "not in the matrix")
        elif not describes(profile, where):
            was = place(profile.device, {})
            tell(
                "orphaned",
                profile.case_id,
                f"locked on {was}, which its GPU label no longer matches: remove the block",
            )
    found = [finding["status"] for finding in findings]
    in_lock = f"{'' if lock.exists else 'the missing '}{shown_path(paths.lock)}"
    say(f"{found.count('ok')} of {len(cases)} cases are locked and up to date in {in_lock}")
    if {"missing", "stale"} & {*found}:
        say(f"lock what is missing or stale with: {RELOCK}{paths.pytest_flags}")
    if any(profile.case_id not in cases for profile in lock):
        say(f"remove what is not in the matrix with: gpu-profile prune{paths.verb_flags}")
    document: CheckDocument = {
        "matrix": typed_path(paths.matrix),
        "lock": typed_path(paths.lock),
        "lock_exists": lock.exists,
        "num_cases": len(cases),
        "num_ok": found.count("ok"),
        "findings": findings,
    }
    return Answer(int({*found} != {"ok"}), document)


def _check_lock(paths: Paths) -> Answer:
    """Read the lockfile and nothing else. Raises LockError where it cannot be read."""
    lock = existing_lock(paths.lock)
    say(f"{shown_path(paths.lock)} can be read; it holds {count(len(lock), 'profile')}")
    document: CheckDocument = {
        "matrix": shown_path(paths.matrix),
        "lock": shown_path(paths.lock),
        "lock_exists": True,
        "num_cases": 0,
        "num_ok": 0,
        "findings": [],
    }
    return Answer(0, document)


def _judge(case: Case, locked: LockedCases, paths: Paths) -> list[tuple[Status, str]]:
    """Return the findings on a case: `ok`, `missing`, `stale` or `broken`, with the reason."""
    profiles = locked.profiles(case)
    if not profiles:
        return [("missing", "never locked")]
    try:
        stale = locked.stale(case)
    except WorkloadError as error:
        what = str(error).partition("; its output")[0]
        probe = f"gpu-profile probe {case.id} --batch-size 1{paths.verb_flags}"
        return [("broken", f"{what}; see: {probe}")]
    command = case.workload.get("command") is not None
    told = "its settings: a command is not run for this" if command else ""
    predicted = all(profile.source == "predicted" for profile in profiles)
    return [("stale", found.message) for found in stale] or [
        ("ok", "predicted, never measured" if predicted else told)
    ]
