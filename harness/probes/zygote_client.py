"""Starts the process of a zygote, asks it for probes, and ends it together with them."""

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
from typing import TYPE_CHECKING

from harness.errors import HarnessError, MachineError, NotOfferedError, WorkloadError
from harness.probes import oom_kills
from harness.probes.dead_processes import Ending, killed_for_memory
from harness.workload.int_keys import for_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.protocol import CaseSpec, Event, Kill, Ready, Request

# Seconds for importing torch and Lightning and building the model. Busy machines need less; only a
# hang takes longer.
_BUILD_TIMEOUT = 600.0
# Seconds in which a zygote must have killed its probe and removed its files.
_GOODBYE = 10.0
# Loader workers make sockets below the temporary folder, `pymp-*/listener-*`. They hang if such a
# path is longer than the 107 bytes that Linux allows.
_MAX_SCRATCH_LENGTH = 74


class ZygoteClient:
    """The zygote of one case; it serves one request at a time.

    Its output goes to `zygote.log` in `directory`.
    """

    def __init__(self, directory: Path) -> None:
        self.log = directory / "zygote.log"
        self.scratch: str | None = None
        """The folder for temporary files of the zygote and its probes; None while there is none."""
        self._process: subprocess.Popen[bytes] | None = None
        self._probe_pid: int | None = None
        self._buffer = b""
        self._kills: int | None = None
        self._is_built = False

    def start(self, case: CaseSpec, environment: Mapping[str, str]) -> Ready:
        """Start the zygote and wait until it has built the workload of `case`.

        environment: variables that are set before torch is imported.

        Raises WorkloadError when it cannot be built, as where it does not offer a change of its
        spec, and MachineError when the machine is at fault; no process and no file is left then.
        """
        self.scratch = _make_scratch()
        try:
            return self._start(case, environment)
        except BaseException:
            self.close()
            raise

    def _start(self, case: CaseSpec, environment: Mapping[str, str]) -> Ready:
        package_root = str(Path(__file__).parents[2])
        path = os.environ.get("PYTHONPATH")
        whole = os.environ | dict(environment)
        whole |= {
            "PYTHONPATH": package_root if not path else package_root + os.pathsep + path,
            "TMPDIR": str(self.scratch),
        }
        self._kills = oom_kills.count()
        self.log.unlink(missing_ok=True)  # a link would lead the output elsewhere
        with self.log.open("xb") as output:
            self._process = subprocess.Popen(
                # -P: a user's own package called `harness` must not come before this one.
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
                f"the workload was not built within {_BUILD_TIMEOUT:.0f} s; its output is in "
                f"{self.log}"
            )
        if answer["event"] == "failed":
            if answer["outcome"] == "not offered":
                raise NotOfferedError(answer["detail"], log=str(self.log))
            what = f"the workload cannot be built: {answer['detail']}"
            if answer["outcome"] == "machine":
                raise MachineError(f"{what} (its output is in {self.log})")
            raise WorkloadError(what, answer["traceback"] or "", log=str(self.log))
        assert answer["event"] == "ready", "a zygote that builds its workload says so first"
        self._is_built = True
        return answer

    def ask(self, request: Request, timeout: float) -> tuple[Ending, str | None]:
        """Run one probe and wait until it is gone; kill it after `timeout` seconds.

        Return how it ended, and the reason why it could not be forked, or None. Raises
        WorkloadError or MachineError when the zygote has died, MachineError also when the probe
        cannot be killed.
        """
        deadline = time.monotonic() + timeout
        self._send(request)
        answer = self._receive(deadline)
        timed_out = False
        while answer is None or answer["event"] != "ended":
            if answer is None:
                if timed_out:
                    raise MachineError(
                        f"a probe cannot be killed; its output is in {request['log']}"
                    )
                timed_out = True
                self._send({"task": "kill"})
                deadline = time.monotonic() + _GOODBYE
            elif answer["event"] == "started":
                self._probe_pid = answer["pid"]
            answer = self._receive(deadline)
        self._receive(time.monotonic() + _GOODBYE)  # "idle": the supervisor is gone, too
        self._probe_pid = None
        ending = Ending(
            answer["exit_code"], timeout if timed_out else None, answer["phase"], answer["result"]
        )
        return ending, answer["afresh"]

    def close(self) -> None:
        """End the zygote and everything it started, and remove their temporary files."""
        process, self._process = self._process, None
        try:
            if process is not None:
                assert process.stdin is not None
                assert process.stdout is not None
                with suppress(BrokenPipeError):
                    process.stdin.close()  # this asks the zygote to clean up and end
                if not self._is_built:
                    process.terminate()  # it reads nothing while it builds
                try:
                    process.wait(_GOODBYE)
                except subprocess.TimeoutExpired:
                    # The group includes the processes that the user's constructors started.
                    os.killpg(process.pid, signal.SIGKILL)
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

    def _send(self, message: CaseSpec | Request | Kill) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(for_json(message)).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._lost() from None

    def _receive(self, deadline: float) -> Event | None:
        """Wait for the zygote's next line and return it; None when the deadline passes first."""
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
        message: Event = json.loads(line)
        return message

    def _lost(self) -> HarnessError:
        """Return the error for a zygote that died: it is the workload's or the machine's fault."""
        assert self._process is not None
        ending = Ending(self._process.wait())
        what = "the process that builds the workload"
        if (trouble := killed_for_memory(ending, self._kills)) is not None:
            return MachineError(f"{what} failed: {trouble} (its output is in {self.log})")
        return WorkloadError(f"{what} {ending}; its output is in {self.log}", log=str(self.log))


def _make_scratch() -> str:
    """Make a temporary folder whose path is short enough for the sockets of loader workers."""
    scratch = tempfile.mkdtemp(prefix="gpu-profile-")
    if len(scratch) <= _MAX_SCRATCH_LENGTH or not os.access("/tmp", os.W_OK):  # noqa: S108 - short
        return scratch
    Path(scratch).rmdir()
    return tempfile.mkdtemp(prefix="gpu-profile-", dir="/tmp")
