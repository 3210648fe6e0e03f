"""`python -m harness.zygote`: builds a case's workload once and forks a fresh probe for every request.

Speaks JSON lines: the first line in describes the case, each further one a probe; lines out are events. It
runs no backward pass and never starts CUDA, so that its forks are clean; where the user's constructors do, its probes
start Python anew. It leads a session of its own, adopts whatever its probes leave behind, and dies, with all of them,
when its parent does.
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
from typing import TYPE_CHECKING, Any

from harness.building import build, versions
from harness.supervisor import Channel, adopt_orphans, die_with_parent, kill_descendants, supervise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from harness.workload import Workload

_ADDR_NO_RANDOMIZE = 0x0040000
_QUERY_PERSONALITY = 0xFFFFFFFF
_COMMAND = [sys.executable, "-P", "-m", "harness.zygote"]
_PROBE = "--probe"
# New objects between two looks for garbage, while everything is imported; Python's own number is 700.
_PATIENT_COLLECTOR = 100_000
_IDLE = b'{"event": "idle"}\n'


class Zygote:
    """The loop: one request at a time, each served by a fork."""

    def __init__(self, inbox: int, outbox: int) -> None:
        self.channel = Channel(inbox, outbox)
        self._case: dict[str, Any] = {}
        self._threads: str | None = None

    def run(self) -> None:
        """Serve until the parent closes its end."""
        case = self.channel.receive()
        if case is None:
            return
        self._case = case
        try:
            with self._ending_with_parent():
                workload = self._prepare()
            if workload is not None:
                self._listen(workload)
        finally:
            self._clean_up()

    @contextmanager
    def _ending_with_parent(self) -> Iterator[None]:
        """End when the parent says so or dies, while nothing reads the inbox: constructors may take for ever."""
        own = os.getpid()

        def end(number: int, _frame: object) -> None:
            if os.getpid() == own:  # and not a fork of the user's
                self._clean_up()
            os._exit(128 + number)

        signal.signal(signal.SIGTERM, end)
        die_with_parent(signal.SIGTERM)
        hung_up = select.poll()
        hung_up.register(self.channel.inbox, 0)
        if hung_up.poll(0):  # it died before the kernel knew
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

    def _prepare(self) -> Workload | None:
        """Build the workload and say so, or why it cannot be built."""
        case = self._case
        sys.path[:] = case["sys_path"]
        if case["directory"] is not None:
            os.chdir(case["directory"])
        # Torch and Lightning make objects by the hundred thousand that stay: to look for garbage among them takes a sixth
        # of the time of their imports.
        thresholds = gc.get_threshold()
        gc.set_threshold(_PATIENT_COLLECTOR, *thresholds[1:])
        try:
            workload, environment, self._threads = build(case["workload"])
        except BaseException as error:  # noqa: BLE001 - the user's constructors may raise anything
            from harness.explaining import explain  # noqa: PLC0415 - torch is imported only once it is wanted

            traceback.print_exc()
            self.channel.send({"event": "failed", **explain(error)})
            return None
        # A probe collects garbage before its limit is set: from then on, it need not look at all that torch imported,
        # nor copy the pages, which takes longer than the rest of a small probe.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*thresholds)
        self.channel.send({"event": "ready", "versions": versions(workload), "environment": environment})
        return workload

    def _listen(self, workload: Workload) -> None:
        # A byte tells that a request has come. The rest is its supervisor's: what is read here would stay.
        while begun := os.read(self.channel.inbox, 1):
            if not self._serve(workload, begun):
                return
            os.write(self.channel.outbox, _IDLE)

    def _serve(self, workload: Workload, begun: bytes) -> bool:
        """Fork a supervisor for one request, and wait for its end; say whether it came to that in good order."""
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                supervise(self.channel, begun, lambda *request: self._become_probe(workload, *request))
                code = 0
            except BaseException:  # noqa: BLE001 - os._exit would swallow it
                traceback.print_exc()
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        return status == 0

    def _become_probe(
        self, workload: Workload, request: Mapping[str, Any], writer: int, foreign: tuple[int, ...]
    ) -> None:
        """Turn the fork into a probe: run the request, write its result, never return."""
        code = 1
        try:
            die_with_parent()
            with suppress(PermissionError):
                os.setpgid(0, 0)
            for descriptor in foreign:
                os.close(descriptor)
            log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(log, 1)
            os.dup2(log, 2)
            reason = self._threads or _cuda_trouble()
            if reason is not None:
                _write(writer, {"afresh": reason})
                _start_afresh(self._case, request, writer)
            _run(workload, request, writer)
            code = 0
        except BaseException:  # noqa: BLE001 - os._exit would swallow it
            traceback.print_exc()
        finally:
            _exit(code)


def _run(workload: Workload, request: Mapping[str, Any], writer: int) -> None:
    """Do what a probe is asked for, and write its result."""
    task = _task(request["task"])
    result = task(workload, request, lambda phase: _write(writer, {"phase": phase}))
    _write(writer, {"result": result})
    if result.get("traceback"):
        sys.stderr.write(result["traceback"])  # last: the disk of the logs may be full


def _task(name: str) -> Callable[[Workload, Mapping[str, Any], Callable[[str], None]], dict[str, Any]]:
    from harness import sweep, trial  # noqa: PLC0415 - torch is imported only once it is wanted

    if name == "trace":
        from harness.predict import tracing  # noqa: PLC0415 - by no probe that is measured

        return tracing.run
    return {"train": trial.run, "describe": trial.describe, "lr_range": sweep.run}[name]


def _write(writer: int, message: Mapping[str, Any]) -> None:
    os.write(writer, json.dumps(message).encode() + b"\n")


def _exit(code: int) -> None:
    """Leave at once: unloading torch takes a second that nobody should wait for."""
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _cuda_trouble() -> str | None:
    """Say whether CUDA was started before the fork: it then cannot be used in it."""
    import torch  # noqa: PLC0415

    return "starts CUDA" if torch.cuda._is_in_bad_fork() else None  # noqa: SLF001 - there is no public way


def _start_afresh(case: Mapping[str, Any], request: Mapping[str, Any], writer: int) -> None:
    """Replace this fork by a Python that builds the workload itself, as the same process."""
    memory = os.memfd_create("request")
    os.write(memory, json.dumps({"case": case, "request": request, "writer": writer}).encode())
    os.lseek(memory, 0, os.SEEK_SET)
    os.dup2(memory, 0)
    os.set_inheritable(writer, True)
    os.execv(_COMMAND[0], [*_COMMAND, _PROBE])  # noqa: S606 - itself, again


def _probe_afresh() -> None:
    """Build the workload, and be a probe of it."""
    with open(0, encoding="utf-8", closefd=False) as stream:
        given = json.load(stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.path[:] = given["case"]["sys_path"]
    workload, _, _ = build(given["case"]["workload"])
    _run(workload, given["request"], given["writer"])


def _fix_addresses() -> None:
    """Start over without address-space randomisation, where the kernel or a container's filter allows it.

    Random addresses move the malloc heap's size by up to 128 KiB, and with it the largest batch on a budget.
    """
    libc = ctypes.CDLL(None)
    current = libc.personality(ctypes.c_ulong(_QUERY_PERSONALITY))
    if current == -1 or current & _ADDR_NO_RANDOMIZE:
        return
    if libc.personality(ctypes.c_ulong(current | _ADDR_NO_RANDOMIZE)) != -1:
        os.execv(_COMMAND[0], _COMMAND)  # noqa: S606 - itself, again


def main() -> None:
    """Take the pipes for the protocol, give everything else that prints a log, and serve."""
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
    Zygote(inbox, outbox).run()
    _exit(0)


if __name__ == "__main__":
    main()
