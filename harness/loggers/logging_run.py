"""Starts a process for each logger, waits for them, and tells what went wrong.

A logger may raise, hang, print, or not be installed. Whatever it does, the results of the run are
written before, and the worst is a warning.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from harness.loggers.records import record_of
from harness.visible import cut
from harness.wording import shown_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from harness.matrix.case import Case
    from harness.probes.open_cases import Surroundings
    from harness.report.case_result import CaseResult

# A logger imports Lightning, often torch, and may upload: W&B alone waits 30 s for its service.
_SECONDS, _SECONDS_PER_CASE = 120.0, 10.0
# Classes of Lightning's whose constructor says that their library is missing.
_LIBRARIES = {
    "TensorBoardLogger": "tensorboard",
    "WandbLogger": "wandb",
    "MLFlowLogger": "mlflow",
    "CometLogger": "comet_ml",
    "NeptuneLogger": "neptune",
}
_EXTRAS = ("mlflow", "tensorboard", "wandb")
_SHORTEST_SECRET = 4
_MAX_ANSWER = 1 << 20


@dataclass(slots=True)
class _Logger:
    """One logger of the matrix, with what each case gives it."""

    number: int
    class_path: str
    cases: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of its class."""
        return self.class_path.rpartition(".")[2]


def log_run(
    cases: Sequence[Case],
    results: Sequence[CaseResult],
    surroundings: Surroundings,
    folder: Path,
    *,
    seconds: float | None = None,
) -> tuple[str, ...]:
    """Give the results of a run to the loggers of its cases; return a warning for each that failed.

    Cases without a measurement are not logged. The loggers run at the same time.

    folder: the folder of their output, which there is.
    seconds: the limit of their time; None: by the number of cases.
    """
    found = {result.case_id: result for result in results if result.measurement is not None}
    loggers = _loggers([case for case in cases if case.id in found], found)
    if not loggers:
        return ()
    limit = _SECONDS + _SECONDS_PER_CASE * len(found) if seconds is None else seconds
    deadline = time.monotonic() + limit
    warnings: list[str] = []
    with ExitStack() as stack:
        started: list[_Process] = []
        for logger in loggers:
            log = folder / f"{logger.number}-{logger.name}.log"
            try:
                process = stack.enter_context(_Process(logger, surroundings, log))
            except OSError as error:
                warnings.append(f"{logger.name} could not be started: {error.strerror}")
                continue
            started.append(process)
        for process in started:
            warnings += process.warnings(deadline, limit)
    return tuple(warnings)


def _loggers(cases: Sequence[Case], found: Mapping[str, CaseResult]) -> list[_Logger]:
    loggers: dict[int, _Logger] = {}
    for case in cases:
        result = found[case.id]
        assert result.measurement is not None, "only what was measured is logged"
        record = record_of(result, result.measurement)
        for number, spec in enumerate(case.loggers, 1):
            logger = loggers.setdefault(number, _Logger(number, spec["class_path"]))
            logger.cases.append({"logger": spec, "record": record})
    return list(loggers.values())


class _Process:
    """The process of a logger; a context manager, which ends it with all that it started."""

    def __init__(self, logger: _Logger, surroundings: Surroundings, log: Path) -> None:
        self._logger = logger
        self._surroundings = surroundings
        self._log = log
        self._answers, self._writer = os.pipe()

    def __enter__(self) -> Self:
        task = {"sys_path": self._surroundings.sys_path, "cases": self._logger.cases}
        data = json.dumps(task).encode()
        try:
            with _new_file(self._log) as output, _file_of(data) as source:
                self._process = subprocess.Popen(
                    # -P: a user's own package called `harness` must not come before this one.
                    [sys.executable, "-P", "-m", "harness.loggers.inside", str(self._writer)],
                    stdin=source,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=self._surroundings.working_directory,
                    env=os.environ | {"MPLBACKEND": "Agg"},
                    pass_fds=(self._writer,),
                    start_new_session=True,
                )
        except BaseException:
            os.close(self._answers)
            raise
        finally:
            os.close(self._writer)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        os.close(self._answers)

    def _end(self) -> None:
        """End the process with what it started. Its number is its own until it is waited for."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def warnings(self, deadline: float, limit: float) -> Iterator[str]:
        """Wait for the end, and yield a line if not all cases were logged."""
        ended = os.pidfd_open(self._process.pid)
        try:
            left = max(0.0, deadline - time.monotonic())
            in_time = bool(select.select([ended], [], [], left)[0])
        finally:
            os.close(ended)
        self._end()
        answers = self._read()
        logged = [one for one in answers if one.get("error") is None]
        missing = len(self._logger.cases) - len(logged)
        if not missing:
            return
        failed = next((one for one in answers if one.get("error") is not None), None)
        if failed is not None:
            why = self._hidden(f"{failed.get('kind')}: {failed.get('error')}")
        elif in_time:
            why = f"its process ended with exit code {self._process.returncode}"
        else:
            why = f"it did not end within {limit:g} s, and was stopped"
        remedy = "" if failed is None else _remedy(self._logger.name, failed)
        number = f"{missing} of {len(self._logger.cases)} cases"
        yield cut(
            f"the logger {self._logger.name} did not log {number}: {why}{remedy} "
            f"(its output is in {shown_path(self._log)})"
        )

    def _read(self) -> list[dict[str, Any]]:
        """Return what the process has answered, a mapping for each case; others may write, too."""
        os.set_blocking(self._answers, False)
        data = b""
        with suppress(BlockingIOError):
            while len(data) < _MAX_ANSWER and (chunk := os.read(self._answers, 1 << 16)):
                data += chunk
        answers = []
        for line in data.splitlines():
            with suppress(ValueError, RecursionError):
                answer = json.loads(line)
                if isinstance(answer, dict):
                    answers.append(answer)
        return answers[: len(self._logger.cases)]

    def _hidden(self, text: str) -> str:
        """Return a text without values of init_args: one may be a password."""
        secrets = {
            secret
            for case in self._logger.cases
            for secret in _texts(case["logger"]["init_args"])
            if len(secret) >= _SHORTEST_SECRET
        }
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


def _remedy(name: str, failed: Mapping[str, Any]) -> str:
    """Return the command that installs what is missing."""
    if failed.get("kind") not in ("ImportError", "ModuleNotFoundError"):
        return ""
    module = failed.get("module")
    library = _LIBRARIES.get(name) or (module if isinstance(module, str) else None)
    if not library:
        return ""
    extra = f"'pytest-gpu-profile[{library}]'"
    return f"; install it with: pip install {extra if library in _EXTRAS else library}"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _new_file(path: Path) -> BinaryIO:
    """Open an empty file; no link is followed, which may lead anywhere."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o666), "wb")


def _file_of(data: bytes) -> BinaryIO:
    """Return a file without a name that holds data: a pipe would have to be fed."""
    file = os.fdopen(os.memfd_create("gpu-profile-logger"), "w+b")
    file.write(data)
    file.seek(0)
    return file
