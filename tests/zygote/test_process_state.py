"""What a zygote keeps of its process's state while constructors run."""

from __future__ import annotations

import os
import resource
import signal

from harness.zygote.process_state import ProcessState, stop_timers


def test_state_is_set_again() -> None:
    """Handlers, blocked signals, soft limits and umask are as they were read."""
    before = ProcessState.read()
    try:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR2,))
        os.umask(0o077)
        soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (1 if soft == 0 else 0, hard))
        assert before != ProcessState.read()
    finally:
        before.set()
    assert before == ProcessState.read()


def test_timers_are_stopped() -> None:
    """A timer that was set would end the process later."""
    signal.setitimer(signal.ITIMER_REAL, 1000)
    stop_timers()
    assert (0.0, 0.0) == signal.getitimer(signal.ITIMER_REAL)
