"""Starts the processes of experiments, and leaves none of them behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent.parent
SYS_PATH = [str(ROOT), str(ROOT / "benchmarks"), *sys.path]
"""The module path of children and zygotes, where the package may not be installed."""
_TAIL = 2000
_started: dict[int, subprocess.Popen[str]] = {}


def start_child(name: str, environment: Mapping[str, str], **request: Any) -> subprocess.Popen[str]:
    """Start `children.py` with a request, as the leader of a process group; see `end`."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as inbox:
        json.dump(request, inbox)
        inbox.seek(0)
        return _popen(name, environment, stdin=inbox, stderr=subprocess.PIPE)


def run_child(
    name: str, environment: Mapping[str, str], timeout: float, **request: Any
) -> dict[str, Any]:
    """Run a function of `children.py` in a Python of its own; return its end as `ended` does."""
    return ended(start_child(name, environment, **request), timeout)


def ended(process: subprocess.Popen[str], timeout: float) -> dict[str, Any]:
    """Wait for a child; return its `answer`, or None and the end of its errors.

    timeout: in seconds, after which it is killed.
    """
    started = time.monotonic()
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        end(process)
        return {"answer": None, "timed_out": timeout}
    finally:
        end(process)
    answer = next((json.loads(line) for line in output.splitlines() if line.startswith("{")), None)
    fact = {
        "answer": answer,
        "exit_code": process.returncode,
        "seconds": round(time.monotonic() - started, 2),
    }
    return fact if answer is not None else fact | {"stderr": errors[-_TAIL:]}


def lines(
    name: str, environment: Mapping[str, str], log: Path, **request: Any
) -> Iterator[dict[str, Any]]:
    """Run a function of `children.py` that prints JSON while it works; yield each line."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as inbox, log.open("a") as errors:
        json.dump(request, inbox)
        inbox.seek(0)
        process = _popen(name, environment, stdin=inbox, stderr=errors)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                yield json.loads(line)
    finally:
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Kill a child and its group, and wait for it. It may have ended already."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None and not stream.closed:
            with suppress(BrokenPipeError):
                stream.close()
    _started.pop(process.pid, None)


def end_all() -> None:
    """Kill the groups of all children that live: nothing of a session may outlast it."""
    for process in list(_started.values()):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


class ForkServer:
    """A process that has imported torch, and forks a child for each request. A context manager.

    An import takes longer than most of what is asked. It never starts CUDA itself.

    Args:
        environment: variables that are set before torch is imported.
        directory: the folder for its output; it is created.
        modules: what it imports beside torch, for all requests.

    """

    def __init__(
        self, environment: Mapping[str, str], directory: Path, modules: Sequence[str] = ()
    ) -> None:
        self._environment = environment
        self._modules = modules
        self._log = directory / "server.log"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("w") as errors:
            self._process = _popen(
                "serve", self._environment, *self._modules, stdin=subprocess.PIPE, stderr=errors
            )
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            end(self._process)

    def ask(self, name: str, timeout: float, **request: Any) -> dict[str, Any]:
        """Run a function of `children.py` in a fork; return exit code and answer, as `ended`."""
        assert self._process is not None, "the server is entered before it is asked"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"name": name, "timeout": timeout, "request": request}
        position = self._log.stat().st_size
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        fact: dict[str, Any] = json.loads(line) if line else {"answer": None, "exit_code": None}
        if fact["answer"] is None:
            fact["stderr"] = self._log.read_bytes()[position:][-_TAIL:].decode(errors="replace")
        return fact


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while; zygotes inherit them."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _popen(
    name: str, environment: Mapping[str, str], *arguments: str, stdin: Any, stderr: Any
) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "cuda_experiments.children", name, *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env=os.environ
        | dict(environment)
        | {"PYTHONPATH": os.pathsep.join(filter(None, SYS_PATH))},
        start_new_session=True,
    )
    _started[process.pid] = process
    return process
