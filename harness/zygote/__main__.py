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
import json
import os
import select
import shutil
import signal
import sys
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from harness.zygote.supervisor import (
    Channel,
    adopt_orphans,
    die_with_parent,
    kill_descendants,
    supervise,
)
from harness.zygote.workload_setup import build, versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.protocol import (
        Afresh,
        CaseSpec,
        Report,
        Request,
        Result,
        TellPhase,
        WorkloadSpec,
    )
    from harness.zygote.workload_setup import Built

_ADDR_NO_RANDOMIZE = 0x0040000
_QUERY_PERSONALITY = 0xFFFFFFFF
_COMMAND = [sys.executable, "-P", "-m", "harness.zygote"]
_PROBE = "--probe"
# The threshold of the garbage collector while everything is imported. Python's default is 700.
_PATIENT_COLLECTOR = 100_000
_IDLE = b'{"event": "idle"}\n'


class Zygote:
    """Serves one request at a time, each in a fork."""

    def __init__(self, channel: Channel, case: CaseSpec) -> None:
        self.channel = channel
        self._case = case

    def run(self) -> None:
        """Build the workload and serve requests until the parent closes its end of the pipe."""
        try:
            with self._ending_with_parent():
                built = self._prepare()
            if built is not None:
                self._listen(built)
        finally:
            self._clean_up()

    @contextmanager
    def _ending_with_parent(self) -> Iterator[None]:
        """End this process when the parent terminates it or dies, until the block is left.

        Within the block the user's constructors run, perhaps for ever, and nothing reads the inbox.
        """
        own = os.getpid()

        def end(number: int, _frame: object) -> None:
            if os.getpid() == own:  # not in a fork that the user's code made
                self._clean_up()
            os._exit(128 + number)

        signal.signal(signal.SIGTERM, end)
        die_with_parent(signal.SIGTERM)
        hung_up = select.poll()
        hung_up.register(self.channel.inbox, 0)
        if hung_up.poll(0):  # the parent died before the line above
            end(signal.SIGTERM, None)
        try:
            yield
        finally:
            die_with_parent(None)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _clean_up(self) -> None:
        kill_descendants()
        if self._case["scratch"] is not None:
            shutil.rmtree(self._case["scratch"], ignore_errors=True)

    def _prepare(self) -> Built | None:
        """Build the workload and report that to the parent; return None if it cannot be built."""
        case = self._case
        sys.path[:] = case["sys_path"]
        if case["directory"] is not None:
            os.chdir(case["directory"])
        # Torch and Lightning make hundreds of thousands of objects that stay. Collecting garbage
        # among them would take a sixth of the time of their imports.
        thresholds = gc.get_threshold()
        gc.set_threshold(_PATIENT_COLLECTOR, *thresholds[1:])
        try:
            built = build(case["workload"])
        except BaseException as error:  # noqa: BLE001 - the user's constructors may raise anything
            from harness.failures.explain import explain  # noqa: PLC0415 - imports torch

            traceback.print_exc()
            self.channel.send({"event": "failed", **explain(error)})
            return None
        # A probe collects garbage before its limit is set. It skips frozen objects, so it neither
        # looks at all that torch imported nor copies those pages, which would take longer than the
        # rest of a small probe.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*thresholds)
        self.channel.send({"event": "ready", "versions": versions(built.workload)})
        return built

    def _listen(self, built: Built) -> None:
        # The first byte shows that a request has come. The supervisor reads the rest: whatever this
        # process reads would stay in its heap.
        while begun := os.read(self.channel.inbox, 1):
            if not self._serve(built, begun):
                return
            os.write(self.channel.outbox, _IDLE)

    def _serve(self, built: Built, begun: bytes) -> bool:
        """Fork a supervisor for one request and wait for it; return whether it succeeded."""
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                supervise(self.channel, begun, lambda *given: self._become_probe(built, *given))
                code = 0
            except BaseException:  # noqa: BLE001 - os._exit would swallow it
                traceback.print_exc()
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        return status == 0

    def _become_probe(
        self, built: Built, request: Request, writer: int, foreign: tuple[int, ...]
    ) -> None:
        """Turn the fork into a probe: run the request, write its result, never return."""
        code = 1
        try:
            die_with_parent()
            with suppress(PermissionError):
                os.setpgid(0, 0)
            for descriptor in foreign:
                os.close(descriptor)
            log = os.open(
                request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644
            )
            os.dup2(log, 1)
            os.dup2(log, 2)
            reason = built.threads or _cuda_trouble()
            if reason is not None:
                _write(writer, {"afresh": reason})
                _start_afresh(self._case, request, writer)
            if request["workload"] is None:
                _run(built, request, writer)
            else:
                _build_and_run(request["workload"], request, writer)
            code = 0
        except BaseException:  # noqa: BLE001 - os._exit would swallow it
            traceback.print_exc()
        finally:
            _exit(code)


def _build_and_run(spec: WorkloadSpec, request: Request, writer: int) -> None:
    """Build a workload in this probe, and run the task with it."""
    try:
        built = build(spec)
    except BaseException as error:  # noqa: BLE001 - the user's constructors may raise anything
        from harness.failures.explain import explain  # noqa: PLC0415 - imports torch

        _tell(explain(error), writer)
    else:
        _run(built, request, writer)


def _run(built: Built, request: Request, writer: int) -> None:
    """Run the task of a probe and write its result."""
    _tell(_do(built, request, lambda phase: _write(writer, {"phase": phase})), writer)


def _tell(result: Result, writer: int) -> None:
    _write(writer, {"result": result})
    if result["outcome"] != "fits" and result["traceback"]:
        sys.stderr.write(result["traceback"])  # last: the disk of the logs may be full


def _do(built: Built, request: Request, tell: TellPhase) -> Result:
    workload = built.workload
    # Imported here, because torch must not be imported before the environment is in place.
    if request["task"] == "train":
        from harness.probe_tasks.train import train  # noqa: PLC0415

        return train(workload, request, tell)
    if request["task"] == "lr_range":
        from harness.probe_tasks.lr_sweep import sweep  # noqa: PLC0415

        return sweep(workload, request, tell)
    if request["task"] == "holders":
        from harness.probe_tasks.holders import holders  # noqa: PLC0415

        return holders(workload, request, tell)
    from harness.probe_tasks.describe import describe  # noqa: PLC0415

    return describe(workload, request, tell, built.torch_settings)


def _write(writer: int, report: Report) -> None:
    os.write(writer, json.dumps(report).encode() + b"\n")


def _exit(code: int) -> None:
    """Exit at once: unloading torch would take a second."""
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _cuda_trouble() -> str | None:
    """Return the reason why this fork cannot use CUDA; None if it can."""
    import torch  # noqa: PLC0415

    return "starts CUDA" if torch.cuda._is_in_bad_fork() else None  # noqa: SLF001 - no public way


def _start_afresh(case: CaseSpec, request: Request, writer: int) -> None:
    """Replace this fork by a new Python in the same process, which builds the workload itself."""
    memory = os.memfd_create("request")
    afresh: Afresh = {"case": case, "request": request, "writer": writer}
    os.write(memory, json.dumps(afresh).encode())
    os.lseek(memory, 0, os.SEEK_SET)
    os.dup2(memory, 0)
    os.set_inheritable(writer, True)
    os.execv(_COMMAND[0], [*_COMMAND, _PROBE])  # noqa: S606 - itself, again


def _probe_afresh() -> None:
    """Build the workload and run the request as its probe."""
    with open(0, encoding="utf-8", closefd=False) as stream:
        given: Afresh = json.load(stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.path[:] = given["case"]["sys_path"]
    request = given["request"]
    _build_and_run(request["workload"] or given["case"]["workload"], request, given["writer"])


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
        os.execv(_COMMAND[0], _COMMAND)  # noqa: S606 - itself, again


def main() -> None:
    """Keep the pipes for the protocol, send all other output to the log, and serve."""
    if _PROBE in sys.argv:
        faulthandler.enable()
        _probe_afresh()
        _exit(0)
    _fix_addresses()
    faulthandler.enable()  # a crash in native code leaves its stack in the log, also in probes
    inbox, outbox = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel(inbox, outbox)
    case = channel.receive_case()
    if case is not None:
        Zygote(channel, case).run()
    _exit(0)


if __name__ == "__main__":
    main()
