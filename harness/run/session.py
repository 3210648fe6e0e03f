"""Finds the values of a run's cases, and writes results and lockfile; knows no pytest."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Protocol
from uuid import uuid4

from harness.devices.device import NoSuchDeviceError
from harness.errors import HarnessError, MachineError
from harness.file_locks import WAIT_SECONDS
from harness.lockfile.profiles import read_lock
from harness.lockfile.write import refuse_read_only, update_lock
from harness.loggers import log_run
from harness.measure.so_far import FOUND_NAME, read_found
from harness.measurement import Measurement
from harness.probes.kept_answers import NAME, forget
from harness.progress.events import working_on
from harness.report.lr_curves import condensed
from harness.run.results import Results, lockable
from harness.run.results_folder import refuse_project_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.bounds.verdict import Verdict, Violation
    from harness.devices.device import Device
    from harness.lockfile.precisions import Recommendation
    from harness.lockfile.profiles import Lock, LockedProfile
    from harness.matrix.case import Case
    from harness.measure.so_far import Found
    from harness.measurement import DeviceIdentity, Source
    from harness.probes.open_cases import Surroundings
    from harness.report.case_result import CaseResult
    from harness.run.paths import Paths


Update = Literal["all", "new"]
"""What a run locks: the values of all its cases, or of those that were never locked."""


class FoundCase(Protocol):
    """A case together with the device that its values are for."""

    @property
    def identity(self) -> DeviceIdentity:
        """The identity of the device, which selects the case's profile."""

    @property
    def device(self) -> Device | None:
        """The device of this machine that the values are found on; None: they are found without."""

    def run(self, locked: LockedProfile | None, surroundings: Surroundings) -> Measurement:
        """Find the case's values."""


class Procedure(Protocol):
    """The way to find the values of a run's cases: `Measuring` or `Predicting`."""

    @property
    def source(self) -> Source:
        """The source of the values: measured or predicted."""

    @property
    def replaces_files(self) -> bool:
        """Whether a case's files come all at once, in place of those of an earlier run."""

    @property
    def flags(self) -> str:
        """The flags that repeat the procedure, beyond `--gpu-profile`."""

    def find(self, case: Case, lock: Lock) -> FoundCase:
        """Return the case with its device; raises NoSuchDeviceError where there is none."""

    def judge(self, case: Case, found: Measurement, locked: LockedProfile | None) -> Verdict:
        """Compare the values that were found with the locked ones."""

    def close(self) -> None:
        """End what is kept running from one case to the next."""


class Session:
    """Loads the lockfile, finds each case's values at most once, and writes the results.

    Raises LockError or HarnessError, before anything runs, when the lockfile or the folder of
    results cannot be used.

    cases: those of the matrix, at least one.
    update: what the run locks; None: nothing.
    preset_flag: the flag that repeats the preset; empty where the matrix or the ini file has it.
    wait_seconds: how long to wait for another run that measures the same case into the same folder.
    run_id: the id that the controller gave to this worker's run; None for one of its own.
    """

    def __init__(
        self,
        paths: Paths,
        cases: tuple[Case, ...],
        procedure: Procedure,
        *,
        update: Update | None = None,
        preset_flag: str = "",
        wait_seconds: float = WAIT_SECONDS,
        run_id: str | None = None,
    ) -> None:
        refuse_project_folder(paths.results, paths.root)
        self.paths = paths
        self.procedure = procedure
        self.update = update
        self.run_id = run_id or uuid4().hex
        self.deadline: float | None = None
        """When no probe begins any more, by the monotonic clock; None: never."""
        self.cases = cases
        self.preset = cases[0].preset
        self.flags = procedure.flags + preset_flag + paths.pytest_flags
        """The flags with which another pytest command does the same."""
        self.lock = read_lock(paths.lock)
        if update:
            refuse_read_only(paths.lock)  # now, not after hours of measuring
        self.results = Results(paths.results, wait_seconds)
        self.locked_ids: tuple[str, ...] = ()
        """The cases that this run wrote to the lockfile."""
        self._found: dict[str, FoundCase | NoSuchDeviceError] = {}
        self._measured: dict[str, Measurement | HarnessError] = {}
        self._tests_left: Counter[str] = Counter()

    @property
    def verb(self) -> str:
        """What is done with a case: it is `measured`, `predicted` or `checked`."""
        return self.procedure.source

    def found_nothing(self, results: Sequence[CaseResult]) -> bool:
        """Return whether a run has found the values of no case, which is no success."""
        return all(result.measurement is None for result in results)

    def identity(self, case: Case) -> DeviceIdentity:
        """Return the identity of the case's device, which selects its profile.

        Raises NoSuchDeviceError when the case's values cannot be found on this machine.
        """
        return self._find(case).identity

    def has_device(self, case: Case) -> bool:
        """Return whether there is a device for a case, and it is in no trouble."""
        try:
            self.identity(case)
        except HarnessError:
            # The device is missing or in trouble. The case's own test reports which.
            return False
        return True

    def device(self, case: Case) -> Device | None:
        """Return the device that a case is measured on; None where it needs none.

        Raises the errors of `identity`.
        """
        return self._find(case).device

    def _find(self, case: Case) -> FoundCase:
        """Find the case's device once: all tests of a case get the same answer or error."""
        known = self._found.get(case.id)
        if known is None:
            try:
                known = self.procedure.find(case, self.lock)
            except NoSuchDeviceError as error:
                known = error
            self._found[case.id] = known
        if isinstance(known, NoSuchDeviceError):
            raise known
        return known

    def locked(self, case: Case) -> LockedProfile | None:
        """Return the case's locked profile for its device."""
        return self.lock.find(case.axes, self.identity(case))

    def measure(self, case: Case) -> Measurement:
        """Find the case's values once; later calls return the same values or raise the same error.

        Raises HarnessError when the values cannot be found.
        """
        known = self._measured.get(case.id)
        if known is None:
            try:
                folder = self.results.of_case(case.id, emptied=not self.procedure.replaces_files)
                with working_on(case.id), folder:
                    around = replace(
                        self.paths.surroundings, run=self.run_id, deadline=self.deadline
                    )
                    known = self._find(case).run(self.locked(case), around)
            except HarnessError as error:
                known = error
            except OSError as error:
                # A full disk, no more processes, or a file in the place of a folder.
                known = MachineError(f"{case.id} cannot be measured: {error}")
                known.__cause__ = error
            self._measured[case.id] = known
        if isinstance(known, HarnessError):
            raise known
        return known

    def expect_tests(self, cases: Iterable[Case | None]) -> None:
        """Learn of each test that will run which case it has, if any."""
        self._tests_left = Counter(case.id for case in cases if case is not None)

    def end_test(self, case: Case, reported: CaseResult | None = None) -> None:
        """Keep less of a case behind its last test: a run may have thousands of cases.

        reported: its result as this process keeps it for the reports, where it does.
        """
        self._tests_left[case.id] -= 1
        known = self._measured.get(case.id)
        if self._tests_left[case.id] == 0 and isinstance(known, Measurement):
            kept = None if reported is None else reported.measurement
            if kept is None or kept is known:
                kept = condensed(known)
            self._measured[case.id] = kept

    def tried(self, case: Case) -> bool:
        """Return whether another test of the case has had its values, or why there are none."""
        return case.id in self._measured

    def measured(self, case: Case) -> Measurement | None:
        """Return the case's values, or None if they were not found."""
        known = self._measured.get(case.id)
        return None if isinstance(known, HarnessError) else known

    def found_before_interruption(self, case: Case) -> Found | None:
        """Return what this run, in any of its workers, had found for an interrupted case."""
        found = read_found(self.paths.results / case.id / FOUND_NAME)
        return found if found is not None and found.run == self.run_id else None

    def so_far(self, case: Case) -> str:
        """Return the end of a sentence about what this run has found of a case that it ended."""
        found = self.found_before_interruption(case)
        batch = "" if found is None else f"; batch {found.measurement.max_batch_size} was found"
        return f"{batch}: the next run goes on from there"

    def judge(self, case: Case) -> Verdict:
        """Find the case's values, and compare them with its locked profile."""
        verdict = self.procedure.judge(case, self.measure(case), self.locked(case))
        return verdict.with_gains_as(case.bounds.gain)

    def updates(self, violations: Sequence[Violation]) -> bool:
        """Return whether this run locks the values of a case that breaks these bounds."""
        if self.update == "new":
            return any(violation.bound == "missing" for violation in violations)
        return self.update is not None

    def write_results(
        self, results: Sequence[CaseResult], recommendations: Sequence[Recommendation] = ()
    ) -> None:
        """Write the run's reports and its candidate lockfile. Raises HarnessError."""
        self.results.write(results, self.paths.lock, self.preset, recommendations)

    def write_page(self) -> tuple[str, ...]:
        """Write the page of the reports; return warnings. It may take a second."""
        return self.results.write_page(self.paths.lock)

    def forget_answers(self, results: Sequence[CaseResult]) -> None:
        """Remove the answers of probes that were kept, once the run has all it wanted of a case."""
        for result in results:
            if result.measurement is not None:
                forget(self.paths.results / result.case_id / NAME, self.run_id)

    def log(self, results: Sequence[CaseResult]) -> tuple[str, ...]:
        """Give what was measured to the loggers; return a warning for each that failed."""
        if self.procedure.source != "measured" or not any(case.loggers for case in self.cases):
            return ()
        try:
            folder = self.results.folder_of_loggers()
        except HarnessError as error:
            return (f"nothing was logged: {error}",)
        return log_run(self.cases, results, self.paths.surroundings, folder)

    def write_lock(self, results: Sequence[CaseResult]) -> None:
        """Lock the accepted values. Raises LockError when the lockfile cannot be written."""
        profiles = lockable(
            result for result in results if result.accepted and self.updates(result.violations)
        )
        if profiles:
            update_lock(self.paths.lock, profiles)
        self.locked_ids = tuple(profile.case_id for profile in profiles)
