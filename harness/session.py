"""What one run does: which cases there are, their measurements, and what reaches the lock. Knows no pytest."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import report
from harness.bounds import judge
from harness.devices import Device, find_device
from harness.errors import HarnessError
from harness.lock_writing import update_lock, write_candidate
from harness.lockfile import LockedProfile, read_lock
from harness.matrix import load_matrix
from harness.profile import Surroundings, profile_case

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.bounds import Verdict
    from harness.matrix import Case
    from harness.measurement import Measurement
    from harness.result import CaseResult


@dataclass(frozen=True)
class Paths:
    """Where a run reads and writes."""

    matrix: Path
    lock: Path
    results: Path
    root: Path
    """pytest's rootdir."""

    @property
    def module_path(self) -> tuple[str, ...]:
        """Where the workloads' modules are looked for beyond `sys.path`: rootdir, and beside the matrix."""
        return (str(self.root), str(self.matrix.parent.absolute()))


class Session:
    """One run: loads matrix and lock, measures each case at most once, writes what it leaves.

    Raises MatrixError or LockError, before anything runs, when one of the two files cannot be used.
    """

    def __init__(self, paths: Paths, *, update: bool = False) -> None:
        self.paths = paths
        self.update = update
        self.cases = load_matrix(paths.matrix, search_path=paths.module_path).cases
        self.lock = read_lock(paths.lock)
        self._measured: dict[str, Measurement | HarnessError] = {}

    @property
    def surroundings(self) -> Surroundings:
        """Where probes live; asked for late, as pytest extends `sys.path` while it collects."""
        sys_path = dict.fromkeys([*sys.path, *self.paths.module_path])
        return Surroundings(self.paths.results, Path.cwd(), tuple(sys_path))

    def device(self, case: Case) -> Device:
        """Find the case's device. Raises NoSuchDeviceError when this machine has none that fits."""
        return find_device(case.device, case.search.target_memory_fraction)

    def locked(self, case: Case) -> LockedProfile | None:
        """Return the case's locked profile for the device at hand."""
        return self.lock.find(case.axes, self.device(case).identity)

    def measure(self, case: Case) -> Measurement:
        """Measure the case, or return what was measured, or raise again what was raised, before."""
        known = self._measured.get(case.id)
        if known is None:
            self.prepare_results()
            # Logs and plots of an earlier run would pass for this one's.
            shutil.rmtree(self.paths.results / case.id, ignore_errors=True)
            try:
                known = profile_case(case, self.device(case), self.locked(case), self.surroundings)
            except HarnessError as error:
                known = error
            self._measured[case.id] = known
        if isinstance(known, HarnessError):
            raise known
        return known

    def measured(self, case: Case) -> Measurement | None:
        """Return what was measured for the case so far."""
        known = self._measured.get(case.id)
        return None if isinstance(known, HarnessError) else known

    def judge(self, case: Case) -> Verdict:
        """Measure the case and compare it with its locked profile."""
        return judge(self.measure(case), self.locked(case), case.bounds)

    def prepare_results(self) -> None:
        """Make the folder of the results, which git ignores by a file of its own."""
        self.paths.results.mkdir(parents=True, exist_ok=True)
        ignore = self.paths.results / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")

    def write_results(self, results: Sequence[CaseResult]) -> None:
        """Leave report.json, report.md (also in GitHub's step summary) and candidate.lock."""
        self.prepare_results()
        folder = self.paths.results
        (folder / "report.json").write_text(
            json.dumps(report.render_json(results), indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )
        markdown = report.render_markdown(results)
        (folder / "report.md").write_text(markdown, encoding="utf-8")
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            report.append_step_summary(markdown, Path(summary))
        write_candidate(folder / "candidate.lock", self.paths.lock, lockable(results))

    def write_lock(self, results: Sequence[CaseResult]) -> list[str]:
        """Lock what was measured and accepted; returns the ids of the locked cases."""
        profiles = lockable(result for result in results if result.accepted)
        if profiles:
            update_lock(self.paths.lock, profiles)
        return [profile.case_id for profile in profiles]


def lockable(results: Iterable[CaseResult]) -> list[LockedProfile]:
    """Return the profiles of all measurements that found a batch that trains."""
    return [
        LockedProfile.from_measurement(result.measurement)
        for result in results
        if result.measurement is not None and result.measurement.max_batch_size > 0
    ]
