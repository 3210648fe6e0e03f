"""Runs a program in the place of the command: its streams, its signals and its exit code."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
# Python ignores these for itself, and a child would inherit that.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
_OF_A_SIGNAL = 128
_POLL_SECONDS = 0.1
_SILENT_POLLS = 30


def find_program(command: Sequence[str], environment: Mapping[str, str] = os.environ) -> str:
    """Return the path of a command's program; raises HarnessError where there is none."""
    found = shutil.which(command[0], path=environment.get("PATH"))
    if found is None:
        where = "no such program" if os.sep in command[0] else "no such program on PATH"
        raise HarnessError(
            f"{command[0]}: {where}: give the command as you would type it, "
            "such as `-- python train.py`"
        )
    return found


def run_program(
    program: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    remaining: Callable[[], Sequence[int]] = tuple,
) -> int:
    """Run a program to its end, and return its exit code as a shell gives it.

    remaining: returns the ids of processes that the program has started and that are not to be
    left behind. They are waited for after the program's end, until a signal comes.

    That is 128 + n for a death by signal n. The program shares this process's streams and its
    process group. A signal that this process gets is sent on, unless the terminal has sent it to
    both. Must be called from the main thread. Raises HarnessError where the program cannot be
    started.
    """
    # Blocked before the start: no signal can come in between and end this process alone.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*FORWARDED, signal.SIGCHLD})
    try:
        try:
            pid = os.posix_spawn(
                program,
                list(command),
                dict(environment),
                setsigmask=before,
                setsigdef=_IGNORED_BY_PYTHON,
            )
        except OSError as error:
            raise HarnessError(
                f"{program}: cannot be started ({error.strerror or error}): make it a program that "
                "runs by itself, or put its interpreter before it"
            ) from error
        code = _wait(pid)
        _wait_for(remaining)
        return code
    finally:
        # A Ctrl-C that ended the program must not end this process before it has told the result.
        while signal.sigtimedwait(FORWARDED, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(pid: int) -> int:
    awaited = {*FORWARDED, signal.SIGCHLD}
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            code = os.waitstatus_to_exitcode(status)
            return _OF_A_SIGNAL - code if code < 0 else code
        received = signal.sigwaitinfo(awaited)
        # From the kernel: Ctrl-C at the terminal, which has reached the whole process group.
        if received.si_signo != signal.SIGCHLD and received.si_code <= 0:
            os.kill(pid, received.si_signo)


def _wait_for(remaining: Callable[[], Sequence[int]]) -> None:
    polls = 0
    while pids := remaining():
        polls += 1
        if polls == _SILENT_POLLS:
            sys.stderr.write(
                "gpu-profile: the program has ended, and processes that it started still use a "
                f"GPU: {', '.join(map(str, pids))}; waiting for their end or for Ctrl-C\n"
            )
        # They are not this process's children, so no signal tells of their end.
        received = signal.sigtimedwait(FORWARDED, _POLL_SECONDS)
        if received is None:
            continue
        for pid in pids if received.si_code <= 0 else ():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, received.si_signo)
        return
