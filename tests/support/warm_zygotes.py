"""Zygotes that are forks of a Python with torch: importing it takes longer than most tests do.

A zygote is the program that it is in use, in a process and a session of its own. It has not begun
with a new Python, which the tests of `new_zygotes` ask for.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from warm_python import bound

from harness.probes import zygote_process

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAM = Path(__file__).with_name("warm_python.py")
# Each takes half a GiB; other environments than these get new Pythons.
_MOST_PYTHONS = 3
_ADDRESS = "GPU_PROFILE_TESTS_WARM"
_SESSIONS = "GPU_PROFILE_TESTS_SESSIONS"
_Variables = tuple[tuple[str, str], ...]
start_new = zygote_process.start_program


class WarmZygotes:
    """Starts zygotes; a context manager, which ends the Pythons that they are forks of.

    The zygotes of an environment are forks of one Python from the second one on.
    """

    def __init__(self) -> None:
        self._addresses: dict[_Variables, str | None] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, environment: Mapping[str, str], log: int) -> Any:
        """Start the program of a zygote, as `zygote_process.start_program` does."""
        key = _key(environment)
        if key not in self._addresses:
            self._addresses[key] = None
            return start_new(environment, log)
        address = self._address(environment)
        started = None if address is None else fork(address, environment, log)
        return started or start_new(environment, log)

    def variables(self, environment: Mapping[str, str], sessions: Path) -> dict[str, str]:
        """Return the variables by which the zygotes of pytest in another process are forks, too.

        environment: that of these zygotes.
        sessions: a file, which will hold the numbers of their sessions.
        """
        whole = {"PYTHONIOENCODING": "utf-8:backslashreplace", **environment}
        address = self._address(whole)
        if address is None:  # they will be new Pythons
            return {}
        path = os.environ.get("PYTHONPATH")
        return {
            "PYTEST_PLUGINS": "warm_runs",
            "PYTHONPATH": f"{PROGRAM.parent}{os.pathsep}{path}" if path else str(PROGRAM.parent),
            _ADDRESS: address,
            _SESSIONS: str(sessions),
        }

    def _address(self, environment: Mapping[str, str]) -> str | None:
        """Return the address of the environment's Python, which is started if need be."""
        key = _key(environment)
        running = len([address for address in self._addresses.values() if address is not None])
        if self._addresses.get(key) is None and running < _MOST_PYTHONS:
            address = self._addresses[key] = f"gpu-profile-tests-{os.getpid()}-{running}"
            self._stack.callback(_end, _started(address, environment))
        return self._addresses.get(key)


def _key(environment: Mapping[str, str]) -> _Variables:
    return tuple(sorted(bound(environment).items()))


def _started(address: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    root = str(Path(zygote_process.__file__).parents[2])
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("\0" + address)
        listening.listen()
        return subprocess.Popen(
            [sys.executable, "-P", str(PROGRAM), str(listening.fileno())],
            stdin=subprocess.PIPE,
            env={
                **environment,
                "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", root)]),
                "TMPDIR": tempfile.gettempdir(),
            },
            pass_fds=(listening.fileno(),),
        )


def _end(python: subprocess.Popen[bytes]) -> None:
    assert python.stdin is not None
    python.stdin.close()
    python.wait()


def start_from_outside(environment: Mapping[str, str], log: int) -> Any:
    """Start a zygote in a run that has the variables of `WarmZygotes.variables`."""
    zygote = fork(os.environ[_ADDRESS], environment, log)
    if zygote is None:
        return start_new(environment, log)
    with Path(os.environ[_SESSIONS]).open("a", encoding="ascii") as file:
        file.write(f"{zygote.pid}\n")
    return zygote


def fork(address: str, environment: Mapping[str, str], log: int) -> _Process | None:
    """Start a zygote as a fork; return None where the Python there has another environment."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("\0" + address)
        inbox, stdin = os.pipe()
        stdout, outbox = os.pipe()
        request = {"environment": dict(environment), "directory": os.getcwd()}  # noqa: PTH109
        line = json.dumps(request).encode() + b"\n"
        sent = socket.send_fds(connection, [line], [inbox, outbox, log])
        # The other side may have refused and gone by now; then even nothing is a broken pipe.
        if sent < len(line):
            connection.sendall(line[sent:])
        os.close(inbox)
        os.close(outbox)
        with connection.makefile("rb", buffering=0) as answers:
            pid = json.loads(answers.readline())
        if pid is not None:
            return _Process(pid, connection.dup(), stdin, stdout)
    os.close(stdin)
    os.close(stdout)
    return None


class _Process:
    """A zygote whose parent is another process, as much of a Popen as the harness uses."""

    def __init__(self, pid: int, parent: socket.socket, stdin: int, stdout: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdin, self.stdout = open(stdin, "wb"), open(stdout, "rb")  # noqa: SIM115 - as a Popen
        self._parent = parent

    def poll(self) -> int | None:
        """Return the exit status; None while the process runs."""
        if self.returncode is None and select.select([self._parent], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self) -> int:
        """Wait for the end; return the exit status."""
        if self.returncode is None:
            with self._parent, self._parent.makefile("rb", buffering=0) as answers:
                self.returncode = int(answers.readline() or -signal.SIGKILL)
        return self.returncode

    def terminate(self) -> None:
        """Ask the process to end."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)
