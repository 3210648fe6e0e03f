"""The hooks of a `--gpu-profile` run; they connect pytest with the session and the terminal."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import report
from harness.devices.device import NoSuchDeviceError
from harness.errors import HarnessError, MachineError
from harness.report.case_result import CaseResult, worst
from harness.report.lr_curves import condensed
from harness.run.annotating import annotations_of
from harness.run.distributing import Distributing, on_worker
from harness.run.fixture import GpuProfile
from harness.run.fleet.opening import refuse_workers
from harness.run.fleet.running import run_elsewhere, warnings_of_fleet
from harness.run.interruption import interrupted_cases, lost_with_worker
from harness.run.opening import open_session
from harness.run.paths import Paths
from harness.run.recommending import recommended_precisions
from harness.run.selecting import Selecting, case_of_item, sort_items
from harness.visible import visible
from harness.wording import shown_path

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from types import FrameType

    from harness.lockfile.precisions import Recommendation
    from harness.matrix.case import Case

_TERMINATED = 128 + signal.SIGTERM
_RUN_ID = "gpu_profile_run"
# A run that was interrupted or broke down updates no lockfile.
_FINISHED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)


class Run:
    """The plugin that a run registers, on the controller and on xdist's workers alike.

    Workers measure, and send each result as an attribute of its report. Only the controller writes
    files.
    """

    def __init__(self, config: pytest.Config, options: Mapping[str, Any]) -> None:
        self.config = config
        self.is_worker = hasattr(config, "workerinput")
        paths = Paths.resolve(config, vars(config.option))
        try:
            if options["gpu_profile_executor"] and (self.is_worker or config.getoption("tx", None)):
                refuse_workers(options)
            self.session = open_session(
                paths,
                options,
                preset_flag=config.getoption("gpu_profile_preset"),
                run_id=getattr(config, "workerinput", {}).get(_RUN_ID),
            )
            told = config.workerinput if self.is_worker else None  # type: ignore[attr-defined] # xdist's
            self.selecting = Selecting(self.session, options, told)
            distributing = (
                on_worker(config)
                if self.is_worker
                else Distributing(config, self.session, self.selecting)
            )
        except HarnessError as error:
            raise pytest.UsageError(str(error)) from None
        if distributing is not None:
            config.pluginmanager.register(distributing, "gpu_profile_distributing")
        self.results: dict[str, CaseResult] = {}
        self._recommendations: tuple[Recommendation, ...] = ()
        self._started: dict[str, str | None] = {}
        # Loggers get the curves of a range test as they are.
        self._logged = {case.id for case in self.session.cases if case.loggers}
        self._interrupted: list[CaseResult] = []
        self.nothing_measured = False
        self.errors: list[str] = []
        self.warnings: tuple[str, ...] = ()
        self._terminated = False
        self._interrupted_while_writing = False
        self._previous_handler: Any = None
        run_elsewhere(config, self.session, self.selecting, self._started)

    def open(self, case: Case, item: pytest.Item) -> GpuProfile:
        """Return a test's case; skip the test when this run has no device for the case."""
        try:
            self.session.identity(case)
        except NoSuchDeviceError as error:
            pytest.skip(str(error))
        if (refusal := self.selecting.refusal(case)) is not None and not self.session.tried(case):
            pytest.skip(refusal)
        return GpuProfile(self.session, case, self._typed(item))

    def _typed(self, item: pytest.Item) -> str:
        """Return a test's id as the user types it here, which may be elsewhere than rootdir."""
        path = os.path.relpath(item.path, self.config.invocation_params.dir)
        return f"{path}::{item.nodeid.partition('::')[2]}"

    def pytest_sessionstart(self) -> None:
        """Make SIGTERM end the run in order."""
        # Python allows no other thread to set handlers.
        if threading.current_thread() is threading.main_thread():
            self._previous_handler = signal.signal(signal.SIGTERM, self._on_sigterm)

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Locate the imported test in the module that imported it, not in this package."""
        path, _, name = item.location
        if Path(path).name == "testing.py" and "gpu_profile" in getattr(item, "fixturenames", ()):
            item.__dict__["location"] = (os.path.relpath(item.path, self.config.rootpath), 0, name)

    # Last: what -k and other plugins leave is what counts.
    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Select and sort the cases, where no controller does it for this worker."""
        if not self.is_worker and (dropped := sort_items(self.selecting, items)):
            config.hook.pytest_deselected(items=dropped)

    def pytest_report_header(self) -> str | None:
        """Return the estimate for the whole matrix under xdist, whose workers collect the tests."""
        if self.is_worker or not getattr(self.config.option, "numprocesses", None):
            return None
        return self._estimate([case for case in self.session.cases if self.is_here(case)])

    def pytest_report_collectionfinish(self, items: list[pytest.Item]) -> str | None:
        """Return the estimate for the selected cases, made from the lockfile."""
        if self.is_worker:
            return None
        if not items and self.selecting.unchanged:
            return f"gpu-profile: no selected case has changed since {self.selecting.since}"
        return self._estimate(self.cases_here(items))

    def cases_here(self, items: list[pytest.Item]) -> list[Case]:
        """Return the cases of tests that run on this machine."""
        chosen = {case.id: case for case in map(case_of_item, items) if case is not None}
        return [case for case in chosen.values() if self.is_here(case)]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach the case's result to the report that decides its status."""
        made = yield
        if call.when == "teardown":
            if (case := case_of_item(item)) is not None:
                self.session.end_test(case, self.results.get(case.id))
            return made
        if call.when == "setup" and made.passed:
            return made
        error = call.excinfo.value if call.excinfo else None
        if call.when == "call" and isinstance(error, MachineError):
            # Trouble with the machine is no regression. pytest and JUnit count a failure outside
            # the call as an error.
            made.when = "setup"
        if isinstance(error, HarnessError):
            made.longrepr = report.error_text(
                item.name, error, self.session.procedure.source, self.session.paths.verb_flags
            )
        case = case_of_item(item)
        if case is not None:
            status = "error" if made.failed and made.when != "call" else made.outcome
            profile = getattr(item, "funcargs", {}).get("gpu_profile")
            if not isinstance(profile, GpuProfile):
                profile = GpuProfile(self.session, case, self._typed(item))
            result = profile.result(status, _reason(made, error))
            sent = result.to_json() if self.is_worker else result
            made.gpu_profile = sent  # type: ignore[attr-defined] # xdist sends it along
            # The report of the teardown, whose properties JUnit's XML has, takes those of the item.
            properties = report.properties_of(result)
            item.user_properties += properties
            made.user_properties += properties
        return made

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count the tests of each case."""
        self.session.expect_tests(map(case_of_item, session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give xdist's workers the id of the run."""
        node.workerinput[_RUN_ID] = self.session.run_id
        self.selecting.tell(node.workerinput)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Remember the tests that run."""
        self._started.setdefault(nodeid, None)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Forget a test that has ended."""
        self._started.pop(nodeid, None)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the results, on the controller."""
        if self.is_worker:
            return
        if (lost := lost_with_worker(self.session, report)) is not None:
            self.results[lost.case_id] = worst(self.results.get(lost.case_id), lost)
        if not hasattr(report, "gpu_profile"):
            return
        # pytest keeps all reports until the end: thousands of results would take much memory.
        data = report.__dict__.pop("gpu_profile")
        result = data if isinstance(data, CaseResult) else CaseResult.from_json(data)
        if result.measurement is not None and result.case_id not in self._logged:
            result = replace(result, measurement=condensed(result.measurement))
        self.results[result.case_id] = worst(self.results.get(result.case_id), result)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the results and, under an update, the lockfile; fail a run that found no values."""
        self.session.procedure.close()
        try:
            if not self.is_worker and not self.config.option.collectonly:
                self._write(session, exitstatus)
        except KeyboardInterrupt:
            # If it went on, other plugins could not end in order, and pytest would lose its exit
            # code.
            self._interrupted_while_writing = True
            session.exitstatus = pytest.ExitCode.INTERRUPTED
        finally:
            if self._previous_handler is not None:
                signal.signal(signal.SIGTERM, self._previous_handler)
            if self._terminated:
                session.exitstatus = _TERMINATED

    def _write(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.INTERRUPTED:
            self._interrupted = list(interrupted_cases(self.session, self._started))
            self.results = {one.case_id: one for one in self._interrupted} | self.results
        results = list(self.results.values())
        # A run that is stopped at once keeps the reports and the candidate of the one before.
        stopped_at_once = len(results) == len(self._interrupted) and not any(
            result.measurement for result in results
        )
        if results and not (stopped_at_once and self.session.results.are_written):
            self._recommendations = recommended_precisions(self.session, results)
            self._try_to(
                partial(self.session.write_results, recommendations=self._recommendations),
                results,
                session,
            )
        if exitstatus not in _FINISHED:
            return
        if self.session.update:
            self._try_to(self.session.write_lock, results, session)
        # A run that is killed before this has its cases' answers still.
        self.session.forget_answers(results)
        self._try_to(self.selecting.remember, results, session)
        if not results and self.selecting.unchanged:
            session.exitstatus = pytest.ExitCode.OK
            return
        self.nothing_measured = self.session.found_nothing(results)
        if self.nothing_measured:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        self.warnings += warnings_of_fleet(self.session)
        # Last: the page and a logger may take their time.
        self.warnings += self.session.write_page()
        self.warnings += self.session.log(results)

    def _try_to(
        self,
        write: Callable[[list[CaseResult]], None],
        results: list[CaseResult],
        session: pytest.Session,
    ) -> None:
        """Write; on an error fail the run, keep the error for the summary, and go on."""
        try:
            write(results)
        except HarnessError as error:
            self.errors.append(str(error))
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Show the table of cases, the improvements, and the paths of the files."""
        results = list(self.results.values())
        if self.config.option.collectonly:
            return
        terminalreporter.section("gpu profiles")
        for line in report.summary_lines(
            results,
            width=self.config.get_terminal_writer().fullwidth,
            locked=self.session.locked_ids,
            lock_path=shown_path(self.session.paths.lock),
            results_path=shown_path(self.session.paths.results),
            recommendations=self._recommendations,
            has_page=self.session.results.has_page,
        ):
            terminalreporter.write_line(visible(line))
        if (note := self.selecting.note()) is not None:
            terminalreporter.write_line(visible(note))
        for result in self._interrupted:
            terminalreporter.write_line(visible(f"{result.case_id}: {result.reason}"), red=True)
        if self._interrupted_while_writing:
            terminalreporter.write_line(
                "interrupted while writing the results: some may be missing. "
                "The lockfile is intact, either old or new",
                red=True,
            )
        for warning in self.warnings:
            terminalreporter.write_line(visible(f"warning: {warning}"), yellow=True)
        for error in self.errors:
            terminalreporter.write_line(visible(error), red=True)
        if self.nothing_measured:
            terminalreporter.write_line(
                visible(
                    f"nothing was {self.session.verb}: "
                    + report.why_nothing(results, len(self.session.cases))
                ),
                red=True,
            )
        for command in annotations_of(results, self.session.paths.matrix):
            # As it is: what others have put into it is escaped, and the rest is for GitHub.
            terminalreporter.write_line(command)

    def _on_sigterm(self, _signal: int, _frame: FrameType | None) -> None:
        """End the run as Ctrl-C does: code that catches the exceptions of tests lets it pass."""
        self._terminated = True
        raise KeyboardInterrupt("terminated by SIGTERM")

    def is_here(self, case: Case) -> bool:
        """Return whether this machine has the device of a case, and it is in no trouble."""
        return self.session.has_device(case)

    def _estimate(self, cases: list[Case]) -> str:
        session = self.session
        return report.estimate_line(
            [self.cost(case) for case in cases], session.procedure.source, session.preset
        )

    def cost(self, case: Case) -> report.CostItem:
        """Return the work that this run will do for a case."""
        return report.cost_of(case, self.session.locked(case))


def _reason(made: pytest.TestReport, error: BaseException | None) -> str | None:
    if made.skipped and isinstance(made.longrepr, tuple):
        return made.longrepr[2].removeprefix("Skipped: ")
    return str(error).strip().partition("\n")[0] if made.failed and error is not None else None
