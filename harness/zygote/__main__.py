"""Builds a case's workload once and forks a fresh probe for every request.

This is the program `python -m harness.zygote`. It speaks JSON lines: the first input line describes
the case, each further one requests a probe, and every output line is an event.

The zygote runs no backward pass and never starts CUDA, so that its forks are clean. If the user's
constructors start threads or CUDA, its probes start Python anew. The zygote leads a session of its
own, adopts the processes that its probes leave behind, and dies with all of them when its parent
dies.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import signal
import sys
import tempfile
import traceback
from contextlib import contextmanager, suppress
from os import _exit, dup2, execve, fork, getpid, read, setpgid, waitpid, waitstatus_to_exitcode
from select import poll
from shutil import rmtree
from typing import TYPE_CHECKING

from harness.pipes import CLOSED, ClosedPipeError, KeptPipe, keep
from harness.zygote.prctl import adopt_orphans, die_with_parent
from harness.zygote.probe_process import (
    COMMAND,
    ENVIRONMENT,
    PROBE,
    build_and_run,
    cuda_trouble,
    end,
    guard_imports,
    probe_afresh,
    run,
    start_afresh,
)
from harness.zygote.process_state import ProcessState, stop_timers
from harness.zygote.rank_place import take_place
from harness.zygote.supervisor import Channel, children, flush_streams, kill_descendants, supervise
from harness.zygote.workload_setup import build, versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.protocol.case import CaseSpec
    from harness.protocol.messages import Request
    from harness.zygote.workload_setup import Built

_ADDR_NO_RANDOMIZE = 0x0040000
_QUERY_PERSONALITY = 0xFFFFFFFF
# The threshold of the garbage collector while everything is imported. Python's default is 700.
_PATIENT_COLLECTOR = 100_000
_IDLE = b'{"event": "idle"}\n'


class Zygote:
    """Serves one request at a time, each in a fork.

    log: the pipe for whatever the zygote prints itself, wherever its streams lead by then.
    """

    def __init__(self, channel: Channel, log: KeptPipe, case: CaseSpec) -> None:
        self.channel = channel
        self._log = log
        self._case = case
        self._pid = getpid()
        self._own = self._users = ProcessState.read()
        self._spared: frozenset[int] = frozenset()
        self._hindrance: str | None = None

    def run(self) -> None:
        """Build the workload and serve requests until the parent closes its end of the pipe."""
        try:
            with self._ending_with_parent():
                built = self._prepare()
            if getpid() != self._pid:  # a constructor has forked, and this is its child
                _exit(0)
            if built is not None:
                self._take_back()
                self._hindrance = built.threads.hindrance()
                self.channel.send({"event": "ready", "versions": versions(built.workload)})
                self._listen(built)
        except BaseException:
            self._print_exception()
            raise
        finally:
            self._clean_up()

    @contextmanager
    def _ending_with_parent(self) -> Iterator[None]:
        """End this process when the parent terminates it or dies, until the block is left.

        Within the block the user's constructors run, perhaps for ever, and nothing reads the inbox.
        """

        def terminate(number: int, _frame: object) -> None:
            if getpid() == self._pid:  # not in a fork that the user's code made
                self._clean_up()
            _exit(128 + number)

        signal.signal(signal.SIGTERM, terminate)
        die_with_parent(signal.SIGTERM)
        hung_up = poll()
        hung_up.register(self.channel.inbox, 0)
        if hung_up.poll(0):  # the parent died before the line above
            terminate(signal.SIGTERM, None)
        try:
            yield
        finally:
            die_with_parent(None)
            if signal.getsignal(signal.SIGTERM) is terminate:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _clean_up(self) -> None:
        kill_descendants()
        if self._case["scratch"] is not None:
            rmtree(self._case["scratch"], ignore_errors=True)

    def _prepare(self) -> Built | None:
        """Build the workload; report that to the parent and return None if it cannot be built."""
        case = self._case
        take_place(case.get("place"))
        sys.path[:] = case["sys_path"]
        if case["directory"] is not None:
            os.chdir(case["directory"])
        tempfile.gettempdir()  # it keeps the folder, even if the environment is emptied
        # Torch and Lightning make hundreds of thousands of objects that stay. Collecting garbage
        # among them would take a sixth of the time of their imports.
        thresholds = gc.get_threshold()
        gc.set_threshold(_PATIENT_COLLECTOR, *thresholds[1:])
        try:
            guard_imports()
            built = build(case["workload"])
        except BaseException as error:  # noqa: BLE001 - the user's constructors may raise anything
            from harness.failures.explain import explain  # noqa: PLC0415 - imports torch

            failure = explain(error)
            self._print(failure["traceback"] or failure["detail"])
            if getpid() == self._pid:
                self.channel.send({"event": "failed", **failure})
            return None
        # A probe collects garbage before its limit is set. It skips frozen objects, so it neither
        # looks at all that torch imported nor copies those pages, which would take longer than the
        # rest of a small probe.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*thresholds)
        return built

    def _take_back(self) -> None:
        """Undo what the constructors did to this process; probes get it again.

        Otherwise a handler that reaps children would take the zygote's supervisors, a timer would
        end it, and so on.
        """
        flush_streams()
        stop_timers()
        self._users = ProcessState.read()
        self._own.set()
        self._spared = frozenset(children())

    def _listen(self, built: Built) -> None:
        # The first byte shows that a request has come. The supervisor reads the rest: whatever this
        # process reads would stay in its heap.
        while begun := self._begun():
            self._serve(built, begun)
            self.channel.outbox.write(_IDLE)

    def _begun(self) -> bytes:
        try:
            return read(self.channel.inbox, 1)
        except OSError as error:
            raise ClosedPipeError(CLOSED) from error

    def _serve(self, built: Built, begun: bytes) -> None:
        """Fork a supervisor for one request and wait for it; tell the parent if it failed."""
        pid = fork()
        if pid == 0:
            code = 1
            try:
                supervise(self.channel, begun, lambda *given: self._become_probe(built, *given))
                code = 0
            except Exception as error:  # noqa: BLE001 - whatever it is, the parent waits for it
                self._print_exception()
                detail = f"could not be started or watched: {type(error).__name__}: {error}"
                self.channel.send({"event": "broken", "detail": detail, "exit_code": 1})
                code = 0
            finally:
                kill_descendants()
                _exit(code)
        _, status = waitpid(pid, 0)
        if status:
            kill_descendants(self._spared)
            code = waitstatus_to_exitcode(status)
            self.channel.send({"event": "broken", "detail": None, "exit_code": code})

    def _become_probe(
        self, built: Built, request: Request, writer: KeptPipe, foreign: tuple[int, ...]
    ) -> None:
        """Turn the fork into a probe: run the request, write its result, never return."""
        code = 1
        try:
            die_with_parent()
            with suppress(PermissionError):
                setpgid(0, 0)
            for descriptor in foreign:
                os.close(descriptor)
            dup2(self._log.number, 1)
            dup2(self._log.number, 2)
            reason = self._hindrance or cuda_trouble()
            if reason is not None:
                writer.send({"afresh": reason})
                start_afresh(self._case, request, writer.number)
            self._users.set()
            take_place(request["bound"].get("place"))
            if request["workload"] is None:
                run(built, request, writer)
            else:
                build_and_run(request["workload"], request, writer)
            code = 0
        except BaseException:  # noqa: BLE001 - os._exit would swallow it
            self._print_exception()
        finally:
            end(code)

    def _print_exception(self) -> None:
        self._print(traceback.format_exc())

    def _print(self, text: str) -> None:
        """Print to the log, whatever the user's code has done to the streams."""
        data = text.encode(errors="backslashreplace")
        with suppress(OSError):
            if not self._log.is_at(self._log.number) and self._log.is_at(2):
                os.write(2, data)
            else:
                self._log.write(data)


def _fix_addresses() -> None:
    """Start over without address-space randomisation, if that is allowed.

    The kernel or a container's filter may forbid it. Random addresses move the size of the malloc
    heap by up to 128 KiB, and with it the largest batch on a budget.
    """
    libc = ctypes.CDLL(None)
    current = libc.personality(ctypes.c_ulong(_QUERY_PERSONALITY))
    if current == -1 or current & _ADDR_NO_RANDOMIZE:
        return
    if libc.personality(ctypes.c_ulong(current | _ADDR_NO_RANDOMIZE)) != -1:
        execve(COMMAND[0], COMMAND, ENVIRONMENT)  # noqa: S606 - itself, again


def main() -> None:
    """Keep the pipes for the protocol, send all other output to the log, and serve."""
    faulthandler.enable()  # a crash in native code leaves its stack in the log, also in probes
    if PROBE in sys.argv:
        probe_afresh()
        end(0)
    _fix_addresses()
    inbox, outbox, log = keep(0), keep(1), KeptPipe(keep(2))
    null = os.open(os.devnull, os.O_RDONLY)
    dup2(null, 0)
    dup2(2, 1)
    adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel(inbox, outbox)
    case = channel.receive_case()
    code = 0
    if case is not None:
        try:
            Zygote(channel, log, case).run()
        except BaseException:  # noqa: BLE001 - it is in the log
            code = 1
    end(code)


if __name__ == "__main__":
    main()
