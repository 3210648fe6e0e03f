"""The process of a zygote, seen from its parent: started, talked to, watched, and ended with all that it started."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import oom_killer
from harness.endings import WorkloadError, ending, killed_for_memory
from harness.errors import HarnessError, MachineError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Importing torch and Lightning and building the model on a loaded machine; a hang is caught, slowness is not.
_BUILD_TIMEOUT = 600.0
# How long a zygote that was told to go may take to kill its probe and remove its files.
_GOODBYE = 10.0
# Loader workers name sockets below the temporary folder, `pymp-*/listener-*`, and hang where that is longer
# than the 107 bytes that Linux takes.
_MAX_SCRATCH_LENGTH = 74


class ZygoteProcess:
    """A zygote of one case, one request at a time; its output goes to `zygote.log` in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "zygote.log"
        self.scratch: str | None = None
        """The folder for temporary files of the zygote and its probes, while there is one."""
        self._process: subprocess.Popen[bytes] | None = None
        self._probe_pid: int | None = None
        self._buffer = b""
        self._kills: int | None = None
        self._is_built = False

    def start(self, case: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
        """Start the zygote, and have it build the workload of `case`; return what it says when it is ready.

        Raises WorkloadError when it cannot be built, MachineError when that is the machine's doing; nothing is left.
        """
        self.scratch = _make_scratch()
        try:
            return self._start(case, environment)
        except BaseException:
            self.close()
            raise

    def _start(self, case: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
        package_root = str(Path(__file__).parent.parent)
        path = os.environ.get("PYTHONPATH")
        whole = os.environ | dict(environment)
        whole |= {
            "PYTHONPATH": package_root if not path else package_root + os.pathsep + path,
            "TMPDIR": str(self.scratch),
        }
        self._kills = oom_killer.count()
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                # -P: a package of the user's that is called harness must not come before this one.
                [sys.executable, "-P", "-m", "harness.zygote"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=whole,
                start_new_session=True,
            )
        self._send({**case, "scratch": self.scratch})
        answer = self._receive(time.monotonic() + _BUILD_TIMEOUT)
        if answer is None:
            raise WorkloadError(
                f"the workload was not built within {_BUILD_TIMEOUT:.0f} s; its output is in {self.log}"
            )
        if answer["event"] == "failed":
            what = f"the workload cannot be built: {answer['detail']}"
            if answer["outcome"] == "machine":
                raise MachineError(f"{what} (its output is in {self.log})")
            raise WorkloadError(what, answer["traceback"], log=str(self.log))
        self._is_built = True
        return answer

    def ask(self, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Have one probe run, and wait until it is gone; return its `result`, `phase`, `exit_code` and more.

        A probe that takes longer than `timeout` seconds is killed; `timed_out` then holds them. Raises WorkloadError or
        MachineError when the zygote is lost.
        """
        deadline = time.monotonic() + timeout
        self._send(request)
        answer = self._receive(deadline)
        timed_out = False
        while answer is None or answer["event"] != "ended":
            if answer is None:
                if timed_out:
                    raise MachineError(f"a probe cannot be killed; its output is in {request['log']}")
                timed_out = True
                self._send({"kill": True})
                deadline = time.monotonic() + _GOODBYE
            elif answer["event"] == "started":
                self._probe_pid = int(answer["pid"])
            answer = self._receive(deadline)
        self._receive(time.monotonic() + _GOODBYE)  # "idle": whoever looked after the probe is gone, too
        self._probe_pid = None
        return answer | {"timed_out": timeout if timed_out else None}

    def close(self) -> None:
        """End the zygote and everything it started, and remove their temporary files."""
        process, self._process = self._process, None
        try:
            if process is not None:
                assert process.stdin is not None
                assert process.stdout is not None
                with suppress(BrokenPipeError):
                    process.stdin.close()  # the zygote reads this as: clean up and go
                if not self._is_built:
                    process.terminate()  # it reads nothing while it builds
                try:
                    process.wait(_GOODBYE)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)  # with what the user's constructors started
                    process.wait()
                finally:
                    process.stdout.close()
        finally:
            if self._probe_pid is not None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._probe_pid, signal.SIGKILL)
                self._probe_pid = None
            if self.scratch is not None:
                shutil.rmtree(self.scratch, ignore_errors=True)
                self.scratch = None

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._lost() from None

    def _receive(self, deadline: float) -> dict[str, Any] | None:
        """Wait for the zygote's next line; None when the deadline passes first."""
        assert self._process is not None
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                raise self._lost()
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def _lost(self) -> HarnessError:
        """Say how the zygote ended: while it built the workload, that is the workload's doing."""
        assert self._process is not None
        end = {"result": None, "timed_out": None, "exit_code": self._process.wait()}
        what = "the process that builds the workload"
        if (trouble := killed_for_memory(end, self._kills)) is not None:
            return MachineError(f"{what} failed: {trouble} (its output is in {self.log})")
        return WorkloadError(f"{what} {ending(end)}; its output is in {self.log}", log=str(self.log))


def _make_scratch() -> str:
    """Make a folder in which the sockets of loader workers have names that are short enough."""
    scratch = tempfile.mkdtemp(prefix="gpu-profile-")
    if len(scratch) <= _MAX_SCRATCH_LENGTH or not os.access("/tmp", os.W_OK):  # noqa: S108 - short, that is the point
        return scratch
    Path(scratch).rmdir()
    return tempfile.mkdtemp(prefix="gpu-profile-", dir="/tmp")
