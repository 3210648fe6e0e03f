"""`python -m harness.zygote`: builds a case's workload once and forks a fresh probe for every request.

Speaks JSON lines: the first line in describes the case, each further one a probe; lines out are events. It
runs no backward pass and never starts CUDA, so that its forks are clean. It leads a session of its own,
adopts whatever its probes leave behind, and dies, with all of them, when its parent does.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import select
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.workload import Workload

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ADDR_NO_RANDOMIZE = 0x0040000
_QUERY_PERSONALITY = 0xFFFFFFFF


class Zygote:
    """The loop: one probe at a time, the parent's words and the probe's both listened to."""

    def __init__(self, inbox: int, outbox: int) -> None:
        self.inbox = inbox
        self.outbox = outbox
        self._buffer = b""

    def run(self) -> None:
        """Serve until the parent closes its end."""
        case = self._receive()
        if case is None:
            return
        sys.path[:] = case["sys_path"]
        if case["directory"] is not None:
            os.chdir(case["directory"])
        try:
            workload, environment = _build(case["workload"])
        except BaseException as error:  # noqa: BLE001 - the user's constructors may raise anything
            from harness.trial import explain  # noqa: PLC0415 - torch is imported only once it is wanted

            self._send({"event": "failed", **explain(error)})
            return
        # A probe collects garbage before its limit is set: from then on, it need not look at all that torch imported,
        # nor copy the pages, which takes longer than the rest of a small probe.
        gc.collect()
        gc.freeze()
        self._send({"event": "ready", "versions": _versions(workload), "environment": environment})
        try:
            while (request := self._receive()) is not None:
                self._send(self._probe(workload, request))
        finally:
            _kill_descendants()
            if case["scratch"] is not None:
                shutil.rmtree(case["scratch"], ignore_errors=True)

    def _probe(self, workload: Workload, request: Mapping[str, Any]) -> dict[str, Any]:
        reader, writer = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            _become_probe(workload, request, writer, (self.inbox, self.outbox, reader))
        os.close(writer)
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)  # the probe does the same: whoever comes first
        self._send({"event": "started", "pid": pid})
        lines = self._listen(pid, reader)
        os.close(reader)
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        leftovers = _kill_descendants()
        phase, result = None, None
        for line in lines:
            with contextlib.suppress(ValueError):  # the last line of a killed probe may be cut
                message = json.loads(line)
                phase = message.get("phase", phase)
                result = message.get("result", result)
        code = os.waitstatus_to_exitcode(status)
        return {"event": "ended", "exit_code": code, "phase": phase, "result": result, "leftovers": leftovers}

    def _listen(self, pid: int, reader: int) -> list[bytes]:
        """Collect the probe's lines until it ends; a request from the parent meanwhile means: kill it."""
        collected = b""
        process = os.pidfd_open(pid)
        watched = [reader, process, self.inbox]
        try:
            while True:
                ready, _, _ = select.select(watched, [], [])
                if reader in ready:
                    chunk = os.read(reader, 1 << 16)
                    collected += chunk
                    if not chunk:  # closed by the probe, which may live on
                        watched.remove(reader)
                if self.inbox in ready:
                    self._receive()
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(pid, signal.SIGKILL)
                    os.kill(pid, signal.SIGKILL)
                    select.select([process], [], [])
                    ready.append(process)
                if process in ready:
                    # A grandchild may hold the pipe open: read what is there, do not wait for its end.
                    os.set_blocking(reader, False)
                    with contextlib.suppress(BlockingIOError):
                        while chunk := os.read(reader, 1 << 16):
                            collected += chunk
                    return collected.splitlines()
        finally:
            os.close(process)

    def _receive(self) -> dict[str, Any] | None:
        """Wait for the parent's next line; None when the parent is gone."""
        while b"\n" not in self._buffer:
            chunk = os.read(self.inbox, 1 << 16)
            if not chunk:
                return None
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def _send(self, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # the parent died; the next read says so
            data = json.dumps(message).encode() + b"\n"
            while data:
                data = data[os.write(self.outbox, data) :]


def _build(spec: Mapping[str, Any]) -> tuple[Workload, dict[str, Any]]:
    """Build the workload; also return what its modules changed of torch's global settings."""
    import torch  # noqa: PLC0415 - not before the environment and the module path are in place

    # Optimizers import it at their first step: here once, instead of in every probe.
    import torch._dynamo  # noqa: PLC0415

    from harness import sweep, trainer, workload  # noqa: PLC0415

    torch.set_num_threads(1)
    trainer.seed_everything(0)
    assert sweep is not None  # imported for the probes
    before = _torch_settings()
    built = workload.build(spec)
    after = _torch_settings()
    return built, {name: value for name, value in after.items() if value != before[name]}


def _torch_settings() -> dict[str, Any]:
    """Return torch's global settings that change what training takes of memory."""
    import torch  # noqa: PLC0415

    return {
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "cudnn.deterministic": torch.backends.cudnn.deterministic,
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "default_dtype": str(torch.get_default_dtype()),
    }


def _versions(workload: Workload) -> dict[str, str]:
    import torch  # noqa: PLC0415

    versions = {"torch": torch.__version__.partition("+")[0]}
    if torch.version.cuda:
        versions["cuda"] = torch.version.cuda
    versions["lightning"] = str(sys.modules[workload.lightning.__name__.partition(".")[0]].__version__)
    return versions


def _become_probe(
    workload: Workload, request: Mapping[str, Any], writer: int, foreign: tuple[int, ...]
) -> None:
    """Turn the fork into a probe: run the request, write its result, never return."""
    code = 1
    try:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(PermissionError):
            os.setpgid(0, 0)
        for descriptor in foreign:
            os.close(descriptor)
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)

        def write(message: Mapping[str, Any]) -> None:
            os.write(writer, json.dumps(message).encode() + b"\n")

        from harness import sweep, trial  # noqa: PLC0415

        task = {"train": trial.run, "describe": trial.describe, "lr_range": sweep.run}[request["task"]]
        result = task(workload, request, lambda phase: write({"phase": phase}))
        if result.get("traceback"):
            sys.stderr.write(result["traceback"])
        write({"result": result})
        code = 0
    except BaseException:  # noqa: BLE001 - os._exit would swallow it
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _kill_descendants() -> int:
    """Kill what probes left: orphans come to the zygote, as it is their subreaper. Returns how many."""
    killed = 0
    deadline = time.monotonic() + 5
    while (children := _children()) and time.monotonic() < deadline:
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
                killed += 1
    return killed


def _children() -> list[int]:
    found = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found += [int(pid) for pid in (task / "children").read_text(encoding="ascii").split()]
    return found


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _fix_addresses() -> None:
    """Start over without address-space randomisation, where the kernel or a container's filter allows it.

    Random addresses move the malloc heap's size by up to 128 KiB, and with it the largest batch on a budget.
    """
    libc = ctypes.CDLL(None)
    current = libc.personality(ctypes.c_ulong(_QUERY_PERSONALITY))
    if current == -1 or current & _ADDR_NO_RANDOMIZE:
        return
    if libc.personality(ctypes.c_ulong(current | _ADDR_NO_RANDOMIZE)) != -1:
        os.execv(sys.executable, [sys.executable, "-P", "-m", "harness.zygote"])  # noqa: S606 - itself, again


def main() -> None:
    """Take the pipes for the protocol, give everything else that prints a log, and serve."""
    _fix_addresses()
    inbox, outbox = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Zygote(inbox, outbox).run()
    # Unloading torch takes a second that nobody should wait for.
    os._exit(0)


if __name__ == "__main__":
    main()
