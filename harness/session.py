"""What one run does: which cases there are, their measurements, and what reaches the lock. Knows no pytest."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from harness import report
from harness.bounds import judge
from harness.bounds_predicted import judge_prediction
from harness.devices import Device, NoSuchDeviceError, find_device
from harness.errors import HarnessError, MachineError
from harness.lock_writing import refuse_read_only, update_lock, write_candidate, write_whole
from harness.lockfile import LockedProfile, read_lock
from harness.matrix import load_matrix
from harness.predict.case import find_gpu, identity_of, predict_case
from harness.predict.gpus import GpuFacts
from harness.profile import Surroundings, profile_case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from harness.bounds import Verdict
    from harness.matrix import Case
    from harness.measurement import DeviceIdentity, Measurement
    from harness.result import CaseResult

_log = logging.getLogger("harness")


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

    @property
    def surroundings(self) -> Surroundings:
        """Where probes live; asked for late, as pytest extends `sys.path` while it collects."""
        sys_path = dict.fromkeys([*sys.path, *self.module_path])
        return Surroundings(self.results, Path.cwd(), tuple(sys_path))


class Session:
    """One run: loads matrix and lock, measures each case at most once, writes what it leaves.

    Raises MatrixError or LockError, before anything runs, when one of the two files cannot be used.
    """

    def __init__(
        self, paths: Paths, *, update: bool = False, predict: bool = False, wait_seconds: float = 0.0
    ) -> None:
        self.paths = paths
        self.update = update
        self.predict = predict
        """Cases are predicted, on any machine, in place of being measured on their GPU."""
        self.wait_seconds = wait_seconds
        self.cases = load_matrix(paths.matrix, search_path=paths.module_path).cases
        self.lock = read_lock(paths.lock)
        if update:
            refuse_read_only(paths.lock)  # now, not after hours of measuring
        self.locked_ids: tuple[str, ...] = ()
        """The cases that this run wrote to the lock."""
        self._measured: dict[str, Measurement | HarnessError] = {}
        self._devices: dict[str, Device | GpuFacts | NoSuchDeviceError] = {}

    def device(self, case: Case) -> Device:
        """Find the case's device. Raises NoSuchDeviceError when this machine has none that fits."""
        device = self._find(
            case, lambda: find_device(case.device, case.search.target_memory_fraction, self.wait_seconds)
        )
        assert not isinstance(device, GpuFacts), "a run that predicts needs no device"
        return device

    def identity(self, case: Case) -> DeviceIdentity:
        """Return what the case's profile is matched on.

        Raises NoSuchDeviceError when the case can neither be measured on this machine, nor predicted where that was
        asked for.
        """
        return identity_of(case, self._gpu(case)) if self.predict else self.device(case).identity

    def _gpu(self, case: Case) -> GpuFacts:
        gpu = self._find(case, lambda: find_gpu(case, self.lock))
        assert isinstance(gpu, GpuFacts), "a run either predicts or measures"
        return gpu

    def _find(self, case: Case, find: Callable[[], Device | GpuFacts]) -> Device | GpuFacts:
        """Look once: the same answer, or error, for every test of a case."""
        known = self._devices.get(case.id)
        if known is None:
            try:
                known = find()
            except NoSuchDeviceError as error:
                known = error
            self._devices[case.id] = known
        if isinstance(known, NoSuchDeviceError):
            raise known
        return known

    def locked(self, case: Case) -> LockedProfile | None:
        """Return the case's locked profile for the device at hand, or the one that is predicted."""
        return self.lock.find(case.axes, self.identity(case))

    def measure(self, case: Case) -> Measurement:
        """Measure the case, or predict it; or return what was found, or raise again what was raised, before."""
        known = self._measured.get(case.id)
        if known is None:
            try:
                self.prepare_results()
                with self._folder_of(case):
                    known = self._run(case)
            except HarnessError as error:
                known = error
            except OSError as error:  # a full disk, no more processes, a file in the place of a folder
                known = MachineError(f"{case.id} cannot be measured: {error}")
                known.__cause__ = error
            self._measured[case.id] = known
        if isinstance(known, HarnessError):
            raise known
        return known

    def _run(self, case: Case) -> Measurement:
        locked = self.locked(case)
        if self.predict:
            return predict_case(case, self._gpu(case), locked, self.paths.surroundings)
        return profile_case(case, self.device(case), locked, self.paths.surroundings)

    @contextmanager
    def _folder_of(self, case: Case) -> Iterator[None]:
        """Hold the case's folder, emptied: a case may be measured by several workers, and by runs side by side."""
        folder = self.paths.results / case.id
        folder.mkdir(exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _log.info("%s: waiting for another process that measures it into %s", case.id, folder)
            lock.acquire()
        try:
            # Logs and plots of an earlier run would pass for this one's.
            for path in folder.iterdir():
                if path.name != ".lock":
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            yield
        finally:
            lock.release()

    def measured(self, case: Case) -> Measurement | None:
        """Return what was measured for the case so far."""
        known = self._measured.get(case.id)
        return None if isinstance(known, HarnessError) else known

    def judge(self, case: Case) -> Verdict:
        """Measure the case, or predict it, and compare it with its locked profile."""
        found, locked = self.measure(case), self.locked(case)
        return judge_prediction(found, locked) if self.predict else judge(found, locked, case.bounds)

    def prepare_results(self) -> None:
        """Make the folder of the results, which git ignores by a file of its own.

        Raises MachineError when it cannot be made.
        """
        try:
            self.paths.results.mkdir(parents=True, exist_ok=True)
            ignore = self.paths.results / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
        except OSError as error:
            raise MachineError(
                f"{self.paths.results}: results cannot be written there: {error.strerror}; name another folder with "
                "--gpu-profile-dir"
            ) from error

    def write_results(self, results: Sequence[CaseResult]) -> None:
        """Leave report.json, report.md (also in GitHub's step summary) and candidate.lock.

        Each is the old or the new one at any time. Raises HarnessError when they cannot be written.
        """
        self.prepare_results()
        folder = self.paths.results
        text = json.dumps(report.render_json(results), indent=2, allow_nan=False) + "\n"
        write_whole(folder / "report.json", text)
        markdown = report.render_markdown(results)
        write_whole(folder / "report.md", markdown)
        write_candidate(folder / "candidate.lock", self.paths.lock, lockable(results))
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            try:
                report.append_step_summary(markdown, Path(summary))
            except OSError as error:
                raise HarnessError(
                    f"{summary}, which GITHUB_STEP_SUMMARY names, cannot be written: {error.strerror}"
                ) from error

    def write_lock(self, results: Sequence[CaseResult]) -> None:
        """Lock what was found and accepted. Raises LockError when the lock cannot be written."""
        profiles = lockable(result for result in results if result.accepted)
        if profiles:
            update_lock(self.paths.lock, profiles)
        self.locked_ids = tuple(profile.case_id for profile in profiles)


def lockable(results: Iterable[CaseResult]) -> list[LockedProfile]:
    """Return the profiles of all measurements, and predictions, that found a batch that trains."""
    return [
        LockedProfile.from_measurement(result.measurement)
        for result in results
        if result.measurement is not None and result.measurement.max_batch_size > 0
    ]
