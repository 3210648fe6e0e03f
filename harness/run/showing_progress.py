"""Shows the progress of a run on pytest's terminal, beside what pytest itself writes there."""

from __future__ import annotations

import sys
from contextlib import ExitStack, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import pytest

from harness import report
from harness.progress.block import Block, can_draw, own_stream
from harness.progress.display import Progress
from harness.progress.workers import Receiver, sending_events

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextlib import AbstractContextManager
    from typing import TextIO

    from harness.matrix.case import Case
    from harness.progress.display import Style
    from harness.run.hooks import Run

_ADDRESS = "gpu_profile_progress"


class ShownProgress:
    """The plugin that shows the progress of a run.

    Workers of xdist send what they tell to the controller, which shows it.
    """

    def __init__(self, config: pytest.Config, run: Run) -> None:
        self._config = config
        self._run = run
        self._progress: Progress | None = None
        self._receiver: Receiver | None = None
        self._ids: list[str] = []
        self._open = ExitStack()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Begin to show progress, before xdist starts its workers."""
        self._progress = self._open.enter_context(_make_progress(self._config))
        address = getattr(self._config, "workerinput", {}).get(_ADDRESS)
        if address is not None:
            self._open.enter_context(sending_events(address))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give xdist's workers the address to which they send."""
        if self._receiver is None and self._progress is not None:
            with suppress(OSError):  # no sockets here, so workers show no progress
                self._receiver = Receiver(self._progress.take)
                self._open.callback(self._receiver.close)
        if self._receiver is not None:
            node.workerinput[_ADDRESS] = self._receiver.address

    def pytest_report_collectionfinish(self, items: list[pytest.Item]) -> None:
        """Learn which cases were selected."""
        self._expect(self._run.cases_here(items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Learn the same from a worker: the controller collects nothing."""
        if ids == self._ids:  # of the worker before, as a rule
            return
        self._ids = ids
        names = {name.rpartition("[")[2].removesuffix("]") for name in ids}
        chosen = [case for case in self._run.session.cases if case.id in names]
        self._expect([case for case in chosen if self._run.is_here(case)])

    def _expect(self, cases: list[Case]) -> None:
        assert self._progress is not None, "the session has started"
        state = self._progress.state
        state.total = len(cases)
        if self._run.session.procedure.source == "measured":
            seconds = {case.id: report.seconds_of(self._run.cost(case)) for case in cases}
            state.estimates = {name: known for name, known in seconds.items() if known is not None}

    # Workers go on while the controller's reporter writes, so the block stands in its way.

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logstart(self) -> Generator[None]:
        """Draw nothing while pytest's reporter writes."""
        yield from self._out_of_the_way()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self) -> Generator[None]:
        """Draw nothing while pytest's reporter writes."""
        yield from self._out_of_the_way()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logfinish(self) -> Generator[None]:
        """Draw nothing while pytest's reporter writes."""
        yield from self._out_of_the_way()

    @pytest.hookimpl(wrapper=True, tryfirst=True, optionalhook=True)
    def pytest_testnodedown(self) -> Generator[None]:
        """Draw nothing while xdist tells of a worker that has ended."""
        yield from self._out_of_the_way()

    def _out_of_the_way(self) -> Generator[None]:
        with nullcontext() if self._progress is None else self._progress.out_of_the_way():
            yield

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Leave the terminal as it was."""
        self._open.close()
        self._progress = None


class _PytestTerminal:
    """Pytest's terminal, which captures output and begins lines that it ends later."""

    def __init__(self, config: pytest.Config, terminal: Any, stream: TextIO) -> None:
        self._suspend = _without_capture(config)
        self._writer = config.get_terminal_writer()
        self._terminal = terminal
        self._stream = stream
        # Only pytest's own reporter keeps a line in the way that is known here.
        self._is_pytests = type(terminal).__module__ == "_pytest.terminal"

    def settle(self) -> None:
        """Bring pytest's text to the terminal: its buffer would come out later, or be captured."""
        with self._suspend():
            self._terminal.flush()

    def line(self, text: str) -> None:
        with self._suspend():
            self._terminal.write_line(text)
            # A pipe's buffer would keep the line until the wait that it tells of is over.
            self._terminal.flush()

    def line_from_elsewhere(self, text: str) -> None:
        begun = getattr(self._terminal, "currentfspath", None)
        if begun:
            self._terminal.currentfspath = None  # pytest begins its next line anew
        start = "\n" if begun else ""
        self._stream.write(f"{start}{text}\n")
        self._stream.flush()

    def column(self) -> int | None:
        """Return the column of the cursor; None where another reporter has put it somewhere."""
        return self._writer.width_of_current_line if self._is_pytests else None


class _StandardError:
    """Standard error, where nobody else would tell what a run waits for."""

    def __init__(self, config: pytest.Config) -> None:
        self._suspend = _without_capture(config)

    def settle(self) -> None:
        """Do nothing: each line is written at once."""

    def line(self, text: str) -> None:
        with self._suspend():
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - as said

    line_from_elsewhere = line


def _without_capture(config: pytest.Config) -> Callable[[], AbstractContextManager[None]]:
    """Return what makes a context in which output reaches the terminal."""
    capture = config.pluginmanager.get_plugin("capturemanager")
    return capture.global_and_fixture_disabled if capture else nullcontext


def _make_progress(config: pytest.Config) -> Progress:
    """Return what shows the progress of a run on the terminal, although pytest captures output.

    Call it while pytest does not capture. Workers of xdist, and runs without a terminal's reporter,
    write warnings to standard error, and nothing else.
    """
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None or hasattr(config, "workerinput"):
        return Progress(_StandardError(config), style="none")
    stream = own_stream(sys.stdout)
    output = _PytestTerminal(config, terminal, stream)
    block = Block(
        stream,
        color=config.get_terminal_writer().hasmarkup,
        column=output.column,
        prints=config.getoption("capture", "fd") not in ("fd", "sys"),
    )
    return Progress(
        output,
        block,
        style=_style(config, stream),
        verbose=config.get_verbosity() > 0,
        close=None if stream is sys.stdout else stream.close,
    )


def _style(config: pytest.Config, stream: TextIO) -> Style:
    if config.get_verbosity() < 0:
        return "none"
    # Pytest's live log writes to the terminal while a test runs, and shows the same.
    live_log = config.pluginmanager.hasplugin("logging") and (
        config.getoption("log_cli_level") is not None or config.getini("log_cli")
    )
    return "lines" if live_log or not can_draw(stream) else "block"
