"""A Python that has imported torch and Lightning; zygotes of tests are forks of it.

The program `warm_python.py SOCKET` listens on that descriptor until its standard input ends. A
request is a line of JSON, with the three standard streams of the zygote beside it. The answer is a
line with the zygote's pid, or `null` where its environment is not this process's, and later a line
with its exit status.

Each zygote has a parent that lives for it alone. It ends when its client does, so that a zygote
dies with its client.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_ADDR_NO_RANDOMIZE = 0x0040000
# What a zygote may have otherwise than this process: nothing that is imported here reads them. The
# module path of a zygote comes with its case.
_FREE = frozenset(
    [
        "COLUMNS",
        "CUDA_VISIBLE_DEVICES",
        "HOME",
        "LINES",
        "PYTHONPATH",
        "PY_COLORS",
        "TMPDIR",
        "TOX_ENV_DIR",
        "USERPROFILE",
    ]
)
_FREE_PREFIXES = ("HALT", "PYTEST_", "GPU_PROFILE_TESTS_", "GPU_PROFILE_SIMULATED_WORLD")


def bound(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that must be this process's."""
    return {
        name: value
        for name, value in environment.items()
        if name not in _FREE and not name.startswith(_FREE_PREFIXES)
    }


def _fix_addresses() -> None:
    """Start over without address-space randomisation, as a zygote does."""
    libc = ctypes.CDLL(None)
    current = libc.personality(ctypes.c_ulong(0xFFFFFFFF))
    fixed = ctypes.c_ulong(current | _ADDR_NO_RANDOMIZE)
    if current != -1 and not current & _ADDR_NO_RANDOMIZE and libc.personality(fixed) != -1:
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - itself, again


def _import_all() -> Any:
    """Import what a zygote imports, and return its program."""
    gc.disable()
    for name in (
        "torch._dynamo",
        "lightning.pytorch",
        "harness.probe_tasks.describe",
        "harness.probe_tasks.lr_sweep",
        "harness.probe_tasks.train",
        "harness.probe_tasks.trainer",
        "harness.workload.build",
    ):
        importlib.import_module(name)
    program = importlib.import_module("harness.zygote.__main__")
    gc.enable()
    gc.collect()
    gc.freeze()
    return program


def _read(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    data, streams, _, _ = socket.recv_fds(connection, 1 << 16, 3)
    while data and not data.endswith(b"\n"):
        more = connection.recv(1 << 16)
        if not more:
            break
        data += more
    return json.loads(data), streams


def _become_zygote(program: Any, request: dict[str, Any], streams: list[int]) -> None:
    """Turn this fork into what `python -P -m harness.zygote` would be."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, 256)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["directory"])
    tempfile.tempdir = None
    sys.argv = [program.__file__]
    sys.modules["__main__"] = program
    program.ENVIRONMENT.clear()
    program.ENVIRONMENT.update(os.environ)
    program.main()


def _keep(
    program: Any, connection: socket.socket, request: dict[str, Any], streams: list[int]
) -> None:
    """Fork the zygote, and be its parent until it or its client ends."""
    pid = os.fork()
    if pid == 0:
        _become_zygote(program, request, streams)
    for stream in streams:
        os.close(stream)
    connection.sendall(b"%d\n" % pid)
    ended = os.pidfd_open(pid)
    ready, _, _ = select.select([ended, connection.fileno()], [], [])
    if ended in ready:
        end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert end is not None
        exited = end.si_code == os.CLD_EXITED
        connection.sendall(b"%d\n" % (end.si_status if exited else -end.si_status))
        # Until its client has read that, the zygote stays known by its number, as a child would.
        connection.recv(1)
        os.waitpid(pid, 0)


def _reap(_number: int, _frame: object) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main() -> None:
    """Serve until the standard input ends."""
    _fix_addresses()
    own = bound(dict(os.environ))
    program = _import_all()
    with socket.socket(fileno=int(sys.argv[1])) as listening:
        signal.signal(signal.SIGCHLD, _reap)
        while 0 not in select.select([0, listening.fileno()], [], [])[0]:
            connection, _ = listening.accept()
            request, streams = _read(connection)
            if bound(request["environment"]) != own:
                connection.sendall(b"null\n")
            elif os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listening.close()
                try:
                    _keep(program, connection, request, streams)
                finally:
                    os._exit(0)
            for descriptor in streams:
                os.close(descriptor)
            connection.close()


if __name__ == "__main__":
    main()
