"""Asks the zygote of a case for probes, and ends it together with them."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError, MachineError, NotOfferedError, WorkloadError
from harness.failures.out_of_space import shortage
from harness.pipes import CLOSED
from harness.probes import oom_kills
from harness.probes.dead_processes import Ending, killed_for_memory
from harness.probes.log_files import BoundedLog, last_words
from harness.probes.messages import ProtocolError, read_event, read_report
from harness.probes.zygote_process import GOODBYE, ZygoteProcess

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.protocol.case import CaseSpec
    from harness.protocol.lr import TellSteps
    from harness.protocol.messages import Broken, Ended, Event, Kill, Ready, Request

_log = logging.getLogger("harness")

# Seconds for importing torch and Lightning and building the model. Busy machines need less; only a
# hang takes longer.
_BUILD_TIMEOUT = 600.0
# Seconds after which whoever waits for it learns so.
_LONG_BUILD = 60.0
# Loader workers make sockets below the temporary folder, `pymp-*/listener-*`. They hang if such a
# path is longer than the 107 bytes that Linux allows.
_MAX_SCRATCH_LENGTH = 74
_STOPPED = "a signal such as SIGSTOP has stopped its process"


class ZygoteClient:
    """The zygote of one case; it serves one request at a time.

    Its output goes to `zygote.log` in `directory`, or to a log of another name there.
    """

    def __init__(self, directory: Path, log: str = "zygote.log") -> None:
        self.log = directory / log
        self.scratch: str | None = None
        """The folder for temporary files of the zygote and its probes; None while there is none."""
        self._process: ZygoteProcess | None = None
        self._own_log: BoundedLog | None = None
        self._probe_pid: int | None = None
        self._kills: int | None = None
        self._is_built = False

    def interrupt(self) -> None:
        """End the wait of another thread for this zygote, as if its time were over."""
        if (process := self._process) is not None:
            process.interrupt()

    def allow_waits(self) -> None:
        """Let threads wait for this zygote again after an `interrupt`."""
        if self._process is not None:
            self._process.interrupted = False

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
            # Streams lead to logs, whatever the terminal's encoding: no print ends a training.
            "PYTHONIOENCODING": "utf-8:backslashreplace",
        }
        self._kills = oom_kills.count()
        self._own_log = _open_log(self.log)
        self._process = ZygoteProcess(whole, self._own_log)
        self._send({**case, "scratch": self.scratch})
        answer = self._await_building()
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

    def _await_building(self) -> Event:
        assert self._process is not None
        started = time.monotonic()
        answer = self._receive(started + _LONG_BUILD, "ready", "failed", ends=True)
        if answer is None and not self._process.interrupted:
            _log.warning(
                "%s: the workload is still being built after %.0f s%s; after %.0f s that ends",
                self.log.parent.name,
                _LONG_BUILD,
                f" ({_STOPPED})" if self._process.is_stopped() else "",
                _BUILD_TIMEOUT,
            )
            answer = self._receive(started + _BUILD_TIMEOUT, "ready", "failed", ends=True)
        if answer is None:
            why = f": {_STOPPED}" if self._process.is_stopped() else ""
            raise WorkloadError(
                f"the workload was not built within {_BUILD_TIMEOUT:.0f} s{why}; its output is in "
                f"{self.log}"
            )
        return answer

    def ask(
        self, request: Request, log: Path, timeout: float, tell_steps: TellSteps | None = None
    ) -> tuple[Ending, str | None]:
        """Run one probe and wait until it is gone; kill it after `timeout` seconds.

        log: the file for its output.
        tell_steps: called with the number of steps that a sweep has done, whenever it tells.

        Return how it ended, and the reason why it could not be forked, or None. Raises
        WorkloadError or MachineError when the zygote has died, MachineError also when the probe
        cannot be killed or its output cannot be written.
        """
        assert self._process is not None
        output = _open_log(log)
        self._process.redirect(output)
        try:
            return self._ask(request, log, timeout, tell_steps)
        finally:
            self._process.redirect(self._own_log)
            output.close()
            if output.error is not None and (full := shortage(output.error)) is not None:
                raise MachineError(f"{full} (the probe's output was for {log})")

    def _ask(
        self, request: Request, log: Path, timeout: float, tell_steps: TellSteps | None
    ) -> tuple[Ending, str | None]:
        deadline = time.monotonic() + timeout
        self._send(request)
        answer = self._await_end(deadline, tell_steps, ends=True)
        late = timeout if answer is None and time.monotonic() >= deadline else None
        if answer is None:
            assert self._process is not None
            self._process.resume()  # what the user's code has stopped could not kill
            self._send({"task": "kill"})
            answer = self._await_end(time.monotonic() + GOODBYE, None)
        if answer is None:
            raise MachineError(f"a probe cannot be killed; its output is in {log}")
        # "idle": the supervisor is gone, too
        if self._receive(time.monotonic() + GOODBYE, "idle") is None:
            raise MachineError(f"the process that forks the probes hangs; its output is in {log}")
        self._probe_pid = None
        if answer["event"] == "broken":
            trouble = answer["detail"] or Ending(answer["exit_code"]).unwatched()
            return Ending(answer["exit_code"], late, trouble=trouble), None
        try:
            told = read_report(answer["report"], answer["garbage"], request["task"])
        except ProtocolError as error:
            return Ending(answer["exit_code"], late, trouble=str(error)), None
        ending = Ending(answer["exit_code"], late, told.get("phase"), told.get("result"))
        return ending, told.get("afresh")

    def _await_end(
        self, deadline: float, tell_steps: TellSteps | None, *, ends: bool = False
    ) -> Ended | Broken | None:
        """Wait for the end of the probe; return None when the deadline passes first.

        ends: whether `interrupt` ends the wait, too.
        """
        while True:
            if self._probe_pid is None:
                answer = self._receive(deadline, "started", "ended", "broken", ends=ends)
            else:
                answer = self._receive(deadline, "progress", "ended", "broken", ends=ends)
            if answer is None:
                return None
            if answer["event"] == "started":
                self._probe_pid = answer["pid"]
            elif answer["event"] == "progress":
                if tell_steps is not None:
                    tell_steps(answer["steps"])
                if time.monotonic() >= deadline:  # it may be told without end
                    return None
            else:
                assert answer["event"] in ("ended", "broken"), "nothing else was expected"
                return answer

    def close(self) -> None:
        """End the zygote and everything it started, and remove their temporary files."""
        process, self._process = self._process, None
        try:
            if process is not None:
                process.end(is_built=self._is_built)
        finally:
            self._close_log()
            if process is not None and self._probe_pid is not None:
                process.kill_group(self._probe_pid)
            self._probe_pid = None
            if self.scratch is not None:
                shutil.rmtree(self.scratch, ignore_errors=True)
                self.scratch = None

    def _close_log(self) -> None:
        log, self._own_log = self._own_log, None
        if log is not None:
            log.close()

    def _send(self, message: CaseSpec | Request | Kill) -> None:
        assert self._process is not None
        try:
            self._process.send(message)
        except BrokenPipeError:
            raise self._lost() from None

    def _receive(self, deadline: float, *expected: str, ends: bool = False) -> Event | None:
        """Wait for the zygote's next line and return it; None when the deadline passes first."""
        assert self._process is not None
        try:
            line = self._process.receive(deadline, ends=ends)
            return None if line is None else read_event(line, expected)
        except EOFError:
            raise self._lost() from None
        except ProtocolError as error:
            raise WorkloadError(
                f"{self._what()} {error}; its output is in {self.log}", log=str(self.log)
            ) from None

    def _what(self) -> str:
        if self._is_built:
            return "the workload was built, but then the process that forks its probes"
        return "the process that builds the workload"

    def _lost(self) -> HarnessError:
        """Return the error for a zygote that died: it is the workload's or the machine's fault."""
        assert self._process is not None
        code = self._process.wait()
        self._process.redirect(None)
        self._close_log()
        output = last_words(self.log)
        what = self._what()
        if code is None or CLOSED in output:
            how = f"can no longer be heard: {CLOSED}"
        else:
            ending = Ending(code)
            if (trouble := killed_for_memory(ending, self._kills)) is not None:
                return MachineError(f"{what} failed: {trouble} (its output is in {self.log})")
            how = str(ending)
        return WorkloadError(
            f"{what} {how}; its output is in {self.log}", output, log=str(self.log)
        )


def _open_log(path: Path) -> BoundedLog:
    try:
        return BoundedLog(path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise MachineError(f"{path}: {shortage(error)}") from None


def _make_scratch() -> str:
    """Make a temporary folder whose path is short enough for the sockets of loader workers."""
    scratch = tempfile.mkdtemp(prefix="gpu-profile-")
    if len(scratch) <= _MAX_SCRATCH_LENGTH or not os.access("/tmp", os.W_OK):  # noqa: S108 - short
        return scratch
    Path(scratch).rmdir()
    return tempfile.mkdtemp(prefix="gpu-profile-", dir="/tmp")
