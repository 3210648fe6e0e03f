"""A program in the place of the command: exit codes, signals, streams."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness.cli.simulating.child import run_program
from harness.errors import HarnessError

if TYPE_CHECKING:
    from pathlib import Path

# Runs the rest of its arguments as a program, and tells the exit code.
_OUTER = """
import os, sys
from harness.cli.simulating.child import run_program
code = run_program(sys.argv[1], sys.argv[1:], os.environ)
print("code", code, flush=True)
"""
OUTER = (sys.executable, "-c", _OUTER)
# Tells each signal, and ends after a line of its input. A handler does not print: in the
# middle of a print it would raise.
_LISTENING = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda got, _: os.write(1, f"got {got}\\n".encode()))
print("ready", flush=True)
print("read", sys.stdin.readline().strip(), flush=True)
sys.exit(9)
"""
LISTENING = (sys.executable, "-c", _LISTENING)
# The C library keeps two of the later signals for itself, and ignores them in what it starts.
_STANDARD_SIGNALS = (1 << 31) - 1


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill -15 $$", 143)]
)
def test_exit_code_is_the_programs(script: str, code: int) -> None:
    """A death by a signal is 128 and the signal's number, as in a shell."""
    assert code == run_program("/bin/sh", ["sh", "-c", script], os.environ)


def test_signals_are_the_users_again_afterwards() -> None:
    """Nothing stays blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    run_program("/bin/sh", ["sh", "-c", "exit 0"], os.environ)
    assert before == signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_program_starts_with_the_signals_of_a_shell() -> None:
    """It finds blocked and ignored what it would find without us: Python itself ignores SIGPIPE."""
    asked = ["/bin/sh", "-c", "grep -E 'SigBlk|SigIgn' /proc/self/status"]
    alone, inside = (
        subprocess.run([*outer, *asked], check=True, capture_output=True, text=True)
        for outer in ((), OUTER)
    )
    masks = [
        [int(line.split()[1], 16) & _STANDARD_SIGNALS for line in done.stdout.splitlines()[:2]]
        for done in (alone, inside)
    ]
    assert masks[0] == masks[1]
    assert not masks[1][1] & 1 << (signal.SIGPIPE - 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_program(number: signal.Signals) -> None:
    """The program decides what they do, and this process waits for its end."""
    with subprocess.Popen(
        [*OUTER, *LISTENING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as outer:
        assert outer.stdin is not None
        assert outer.stdout is not None
        assert "ready\n" == outer.stdout.readline()
        outer.send_signal(number)
        assert f"got {int(number)}\n" == outer.stdout.readline()
        outer.stdin.write("line\n")
        outer.stdin.close()
        assert "read line\ncode 9\n" == outer.stdout.read()


def test_interrupt_of_the_terminal_comes_once() -> None:
    """Ctrl-C reaches the process group by itself, so it is not sent on a second time."""
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, [*OUTER, *LISTENING])  # noqa: S606 - there is no shell
    with os.fdopen(terminal, "r+b", buffering=0) as screen:
        seen = b""
        for awaited, typed in ((b"ready", b"\x03"), (b"got 2", b"line\n"), (b"code 9", b"")):
            while awaited not in seen:
                seen += screen.read(1024)
            screen.write(typed)
        os.waitpid(pid, 0)
    assert 1 == seen.count(b"got 2")


def test_processes_that_remain_are_waited_for() -> None:
    """They are asked for until there is none."""
    asked = iter([[2**30], [2**30], []])
    assert 6 == run_program("/bin/sh", ["sh", "-c", "exit 6"], os.environ, lambda: next(asked))
    assert [] == list(asked)


def test_signal_ends_the_wait_and_reaches_those_that_remain() -> None:
    """So nobody waits for a server that the program has left running."""
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as server:

        def ask() -> list[int]:
            signal.raise_signal(signal.SIGTERM)  # blocked until it is waited for
            return [server.pid]

        assert 6 == run_program("/bin/sh", ["sh", "-c", "exit 6"], os.environ, ask)
        assert -signal.SIGTERM == server.wait(timeout=60)


def test_program_that_cannot_run_is_told(tmp_path: Path) -> None:
    """Such as a file that is none."""
    program = tmp_path / "program"
    program.write_bytes(b"\0")
    program.chmod(0o755)
    with pytest.raises(HarnessError, match=r"cannot be started \(Exec format error\)"):
        run_program(str(program), ["program"], os.environ)
