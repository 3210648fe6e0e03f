"""The hooks of a `--gpu-profile` run: from pytest's items and reports to the session, and back to the terminal."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import report
from harness.devices import NoSuchDeviceError
from harness.errors import HarnessError, MachineError
from harness.fixture import GpuProfile
from harness.progress import TerminalProgress
from harness.result import CaseResult
from harness.session import Paths, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from types import FrameType

    from harness.matrix import Case

# More is no wait but a hang.
_MAX_WAIT = 86_400
_TERMINATED = 128 + signal.SIGTERM
# A run that was interrupted, or broke down, is no ground for an update.
_FINISHED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
# Several tests may use one case: the worst of them is the case's status.
_SEVERITY = ("skipped", "passed", "failed", "error")


class Run:
    """A registered plugin of the run, on the controller and on xdist's workers alike.

    Workers measure and send results as an attribute of their reports; the controller alone writes files.
    """

    def __init__(self, config: pytest.Config, options: Mapping[str, Any]) -> None:
        self.config = config
        self.is_worker = hasattr(config, "workerinput")
        paths = self._paths(options)
        try:
            wait = _seconds(str(options["gpu_profile_wait"]))
            self.session = Session(
                paths,
                update=bool(options["gpu_profile_update"]),
                predict=bool(options["gpu_profile_predict"]),
                wait_seconds=wait,
            )
        except HarnessError as error:
            raise pytest.UsageError(str(error)) from None
        self.results: dict[str, CaseResult] = {}
        self.nothing_measured = False
        self.errors: list[str] = []
        self._terminated = False
        self._interrupted_while_writing = False
        self._progress: TerminalProgress | None = None
        self._previous_handler: Any = None

    def open(self, case: Case, node_id: str) -> GpuProfile:
        """Give a test its case; skips it when no device of this machine fits, or nothing can be predicted."""
        try:
            self.session.identity(case)
        except NoSuchDeviceError as error:
            pytest.skip(str(error))
        return GpuProfile(self.session, case, node_id)

    def pytest_sessionstart(self) -> None:
        """Make SIGTERM end the run in order, and show progress."""
        if threading.current_thread() is threading.main_thread():  # elsewhere nobody may set handlers
            self._previous_handler = signal.signal(signal.SIGTERM, self._on_sigterm)
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None and not self.is_worker:
            self._progress = _progress(self.config, terminal)
            self._progress.__enter__()

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Point the imported test at the module that imported it, not into this package."""
        path, _, name = item.location
        if Path(path).name == "testing.py" and "gpu_profile" in getattr(item, "fixturenames", ()):
            item.__dict__["location"] = (item.nodeid.partition("::")[0], 0, name)

    def pytest_report_header(self) -> str | None:
        """Estimate the cost of the whole matrix where xdist's workers collect, and nobody here does."""
        if self.is_worker or not getattr(self.config.option, "numprocesses", None):
            return None
        return self._estimate([case for case in self.session.cases if self._is_here(case)])

    def pytest_report_collectionfinish(self, items: list[pytest.Item]) -> str | None:
        """Estimate from the lock what the selected cases will cost."""
        if self.is_worker:
            return None
        chosen = (item.callspec.params["gpu_profile"] for item in items if hasattr(item, "callspec"))
        cases = {case.id: case for case in chosen if self._is_here(case)}
        return self._estimate(list(cases.values()))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach the case's result to the report that decides its status."""
        made = yield
        if self._progress is not None:
            self._progress.clear()  # before pytest writes its letter
        if call.when == "teardown" or (call.when == "setup" and made.passed):
            return made
        error = call.excinfo.value if call.excinfo else None
        if call.when == "call" and isinstance(error, MachineError):
            # The machine's trouble is no regression: pytest and JUnit count failures outside the call as errors.
            made.when = "setup"
        if isinstance(error, HarnessError):
            made.longrepr = report.error_text(item.name, error, predicting=self.session.predict)
        case = item.callspec.params.get("gpu_profile") if hasattr(item, "callspec") else None
        if case is not None:
            status = "error" if made.failed and made.when != "call" else made.outcome
            profile = getattr(item, "funcargs", {}).get("gpu_profile")
            if not isinstance(profile, GpuProfile):
                profile = GpuProfile(self.session, case, item.nodeid)
            result = profile.result(status, _reason(made, error))
            made.gpu_profile = result.to_json()  # type: ignore[attr-defined] # reports take attributes to xdist
        return made

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the results, on the controller."""
        data = getattr(report, "gpu_profile", None)
        if data is None or self.is_worker:
            return
        result = CaseResult.from_json(data)
        known = self.results.get(result.case_id)
        if known is None or _SEVERITY.index(result.status) >= _SEVERITY.index(known.status):
            self.results[result.case_id] = result

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the results, and the lock when asked to; a run that measured nothing has failed."""
        if self._progress is not None:
            self._progress.__exit__(None, None, None)
        try:
            if not self.is_worker and not self.config.option.collectonly:
                self._write(session, exitstatus)
        except KeyboardInterrupt:
            # Let go, it would keep other plugins from ending in order, and pytest from its exit code.
            self._interrupted_while_writing = True
            session.exitstatus = pytest.ExitCode.INTERRUPTED
        finally:
            if self._previous_handler is not None:
                signal.signal(signal.SIGTERM, self._previous_handler)
            if self._terminated:
                session.exitstatus = _TERMINATED

    def _write(self, session: pytest.Session, exitstatus: int) -> None:
        results = list(self.results.values())
        if results:
            self._try_to(self.session.write_results, results, session)
        if exitstatus not in _FINISHED:
            return
        if self.session.update:
            self._try_to(self.session.write_lock, results, session)
        self.nothing_measured = all(result.measurement is None for result in results)
        if self.nothing_measured:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _try_to(
        self, write: Callable[[list[CaseResult]], None], results: list[CaseResult], session: pytest.Session
    ) -> None:
        """Keep an error for the summary: the run has failed, and what else there is to write is written."""
        try:
            write(results)
        except HarnessError as error:
            self.errors.append(str(error))
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Show the table, what improved, and where everything is."""
        results = list(self.results.values())
        if self.config.option.collectonly:
            return
        terminalreporter.section("gpu profiles")
        for line in report.summary_lines(
            results,
            width=self.config.get_terminal_writer().fullwidth,
            locked=self.session.locked_ids,
            lock_path=self._shown(self.session.paths.lock),
            results_path=self._shown(self.session.paths.results),
        ):
            terminalreporter.write_line(line)
        if self._interrupted_while_writing:
            terminalreporter.write_line(
                "interrupted while the results were written: some may be missing; the lock is as it was, or whole",
                red=True,
            )
        for error in self.errors:
            terminalreporter.write_line(error, red=True)
        if self.nothing_measured:
            terminalreporter.write_line(
                f"nothing was {'predicted' if self.session.predict else 'measured'}: "
                + report.why_nothing(results, len(self.session.cases)),
                red=True,
            )

    def _on_sigterm(self, _signal: int, _frame: FrameType | None) -> None:
        """End the run as Ctrl-C does: nothing that catches a test's exceptions swallows that."""
        self._terminated = True
        raise KeyboardInterrupt("terminated by SIGTERM")

    def _is_here(self, case: Case) -> bool:
        try:
            self.session.identity(case)
        except (
            HarnessError
        ):  # no such device, or one in trouble: which of them, the case's own test will tell
            return False
        return True

    def _estimate(self, cases: list[Case]) -> str:
        if self.session.predict:
            return report.prediction_line(len(cases))
        return report.estimate_line([self._cost(case) for case in cases])

    def _cost(self, case: Case) -> report.CostItem:
        locked = self.session.locked(case)
        seeds, steps = len(case.lr_range.seeds), case.lr_range.num_training
        runs_sweep = case.lr_range.when == "always" or (case.lr_range.when == "changed" and locked is None)
        return report.CostItem(
            case_id=case.id,
            locked=locked,
            num_probes=2 if locked else 5,
            lr_steps=seeds * steps if runs_sweep else 0,
            steps_per_trial=case.search.steps_per_trial,
        )

    def _paths(self, options: Mapping[str, Any]) -> Paths:
        """Resolve paths: a flag's from where pytest was started, an ini key's and a default's from rootdir."""
        root = self.config.rootpath

        def resolve(name: str) -> Path:
            given = self.config.getoption(name) is not None
            return (self.config.invocation_params.dir if given else root) / str(options[name])

        matrix = resolve("gpu_profile_matrix")
        lock = (
            resolve("gpu_profile_lock") if options["gpu_profile_lock"] else matrix.parent / "gpu-profile.lock"
        )
        return Paths(matrix, lock, resolve("gpu_profile_dir"), root)

    def _shown(self, path: Path) -> str:
        directory = self.config.invocation_params.dir
        return str(path.relative_to(directory) if path.is_relative_to(directory) else path)


def _reason(made: pytest.TestReport, error: BaseException | None) -> str | None:
    if made.skipped and isinstance(made.longrepr, tuple):
        return made.longrepr[2].removeprefix("Skipped: ")
    return str(error).strip().partition("\n")[0] if made.failed and error is not None else None


def _progress(config: pytest.Config, terminal: Any) -> TerminalProgress:
    """Show the log on the terminal, around pytest's capture of output."""
    capture = config.pluginmanager.get_plugin("capturemanager")
    writer = config.get_terminal_writer()

    def write(text: str) -> None:
        # Past pytest's writer, which counts columns and would count the backspaces as some.
        sys.stdout.write(text)
        sys.stdout.flush()

    return TerminalProgress(
        write=write,
        write_line=terminal.write_line,
        room=lambda: writer.fullwidth - writer.width_of_current_line,
        suspend_capture=capture.global_and_fixture_disabled if capture else nullcontext,
        verbose=config.get_verbosity() > 0,
        tty=terminal.isatty,
    )


def _seconds(text: str) -> float:
    """Read the value of --gpu-profile-wait."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _MAX_WAIT:
        raise HarnessError(
            f"--gpu-profile-wait {text} is not allowed; a number of seconds from 0 to {_MAX_WAIT}"
        )
    return seconds
