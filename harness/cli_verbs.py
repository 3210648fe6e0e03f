"""The verbs of the `gpu-profile` command. Each returns the exit code: 0, or 1 when something differs or fails."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import lock_writing
from harness.devices.cpu import CpuDevice
from harness.errors import HarnessError
from harness.lockfile import read_lock
from harness.matrix import load_matrix
from harness.probe import WorkloadError
from harness.profile import open_runner
from harness.progress import describe_probe
from harness.recipe import recipe
from harness.session import Session

if TYPE_CHECKING:
    import argparse

    from harness.lockfile import LockedProfile
    from harness.matrix import Case
    from harness.session import Paths

_ENVIRONMENT = "environment."


def check(_options: argparse.Namespace, paths: Paths) -> int:
    """List the cases without a profile, the profiles that no longer describe their case, and those without one."""
    session = Session(paths)
    known = {case.id for case in session.cases}
    problems = [
        f"orphaned  {profile.case_id}: not in the matrix (gpu-profile prune removes it)"
        for profile in session.lock
        if profile.case_id not in known
    ]
    fine = 0
    for case in session.cases:
        profiles = [profile for profile in session.lock if profile.axes == case.axes]
        if not profiles:
            problems.append(f"missing   {case.id}: never locked")
            continue
        stale = _why_stale(case, profiles, session)
        fine += not stale
        problems += [f"stale     {case.id}: {reason}" for reason in stale]
    for problem in problems:
        print(problem)  # noqa: T201 - what the command is for
    print(f"{fine} of {len(session.cases)} cases are locked and up to date in {paths.lock}")  # noqa: T201
    return int(bool(problems))


def show(options: argparse.Namespace, paths: Paths) -> int:
    """Print a locked profile as it stands in the lockfile, or one of its values."""
    lock = read_lock(paths.lock)
    profiles = [profile for profile in lock if profile.case_id == options.case]
    if not profiles:
        raise HarnessError(
            f"{paths.lock} holds no profile of {options.case}; it holds "
            f"{', '.join(sorted({profile.case_id for profile in lock})) or 'none at all'}"
        )
    if options.field is None:
        sys.stdout.write(lock_writing.render(replace(lock, profiles=tuple(profiles))))
        return 0
    if len(profiles) > 1:
        raise HarnessError(
            f"{options.case} is locked on several devices: "
            f"{', '.join(profile.device.name for profile in profiles)}; print it without --field"
        )
    print(_field(profiles[0], options.field))  # noqa: T201
    return 0


def diff(options: argparse.Namespace, _paths: Paths) -> int:
    """Say what differs between two lockfiles; one that does not exist is a mistake."""
    locks = []
    for path in (options.old, options.new):
        lock = read_lock(path)
        if not lock.exists:
            raise HarnessError(f"{path} does not exist")
        locks.append(lock)
    differences = lock_writing.diff(*locks)
    for difference in differences:
        print(difference)  # noqa: T201
    return int(bool(differences))


def prune(options: argparse.Namespace, paths: Paths) -> int:
    """Remove the profiles whose case is not in the matrix."""
    keep = {case.id for case in load_matrix(paths.matrix, search_path=paths.module_path).cases}
    if options.dry_run:
        orphans = tuple(profile for profile in read_lock(paths.lock) if profile.case_id not in keep)
    else:
        orphans = lock_writing.prune(paths.lock, keep)
    for profile in orphans:
        print(f"{'would remove' if options.dry_run else 'removed'} {profile.case_id} ({profile.device.name})")  # noqa: T201
    return 0


def probe(options: argparse.Namespace, paths: Paths) -> int:
    """Try one batch size with the case's own settings; its output is kept beside a run's."""
    session = Session(paths)
    case = _case(session, options.case)
    if options.batch_size < 1:
        raise HarnessError(f"--batch-size {options.batch_size}: a whole number from 1")
    session.prepare_results()
    try:
        device = session.device(case)
        with device.hold(), open_runner(case, device, session.surroundings) as runner:
            done = runner.train(
                options.batch_size,
                steps=case.search.steps_per_trial,
                validation_steps=int(case.search.validation is not False),
            )
    except WorkloadError as error:
        sys.stderr.write(error.detail)
        raise
    if done.traceback:
        sys.stderr.write(done.traceback)
    print(f"{case.id}: {describe_probe(done, runner.memory_limit_bytes)}")  # noqa: T201
    print(f"output: {done.log}")  # noqa: T201
    return int(done.outcome != "fits")


def _case(session: Session, case_id: str) -> Case:
    for case in session.cases:
        if case.id == case_id:
            return case
    raise HarnessError(
        f"{session.paths.matrix} has no case {case_id}; it has {', '.join(case.id for case in session.cases)}"
    )


def _why_stale(case: Case, profiles: list[LockedProfile], session: Session) -> list[str]:
    """Build the workload on the CPU, train nothing, and compare what the lock was made with."""
    with tempfile.TemporaryDirectory() as folder:
        surroundings = replace(session.surroundings, directory=Path(folder))
        try:
            # No budget is enforced: the description ends before anything is bounded.
            with open_runner(case, CpuDevice(1 << 40), surroundings) as runner:
                fingerprint = runner.describe().fingerprint
        except WorkloadError as error:
            return [str(error).partition(";")[0]]
    reasons = []
    for profile in profiles:
        # The environment was the locking machine's: what is compared is the matrix's part of the recipe.
        environment = {
            name.removeprefix(_ENVIRONMENT): value
            for name, value in profile.settings.items()
            if name.startswith(_ENVIRONMENT)
        }
        if profile.fingerprint != fingerprint:
            reasons.append("the workload is another one than the locked one")
        if profile.recipe != recipe(case, environment).digest:
            reasons.append("the matrix has other settings than the locked ones")
    return reasons


def _field(profile: LockedProfile, name: str) -> Any:
    """Find a value by its name in the lockfile, dotted below a table: `device.name`."""
    table: Any = lock_writing.block(profile)
    for part in name.split("."):
        if not isinstance(table, dict) or part not in table:
            known = ", ".join(sorted(lock_writing.block(profile)))
            raise HarnessError(f"the profile of {profile.case_id} has no field {name}; it has {known}")
        table = table[part]
    return table
