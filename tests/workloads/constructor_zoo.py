"""Workloads whose constructors, or first steps, change the process that runs them."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import Batch, Net

if TYPE_CHECKING:
    import torch


class Mute:
    """A stream that can only be written to."""

    def write(self, text: str) -> None:
        """Drop the text."""


class TakesOver(Net):
    """Changes much of what a process has of its own while it is built."""

    def __init__(self) -> None:
        super().__init__(width=64)
        print("built here")  # noqa: T201 - still buffered when probes are forked
        encode = json.dumps
        json.dumps = lambda *values, **more: encode(*values, **more).encode()  # type: ignore[assignment]
        os.fork = _refuse  # type: ignore[assignment]
        os.register_at_fork(before=_refuse)
        signal.signal(signal.SIGCHLD, _reap)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR1,))
        os.chdir(tempfile.mkdtemp())
        os.umask(0o777)
        os.closerange(3, 256)
        os.environ.clear()
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        sys.stdout, sys.stderr = Mute(), None

    def on_train_start(self) -> None:
        """Require what the constructor has set: a training has it, too."""
        assert signal.getsignal(signal.SIGCHLD) is _reap
        assert signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        assert 0o777 == os.umask(0o777)
        os.write(1, b"trains here\n")


class TakesOverWithAThread(TakesOver):
    """Does the same, and starts a thread."""

    def __init__(self) -> None:
        threading.Thread(target=threading.Event().wait, name="feeder", daemon=True).start()
        super().__init__()


class EndsInInit(Net):
    """Ends its process without an error while it is built."""

    def __init__(self) -> None:
        super().__init__()
        os._exit(0)


class ClosesAllInInit(Net):
    """Closes all descriptors of its process but the streams while it is built."""

    def __init__(self) -> None:
        super().__init__()
        os.closerange(3, 1 << 16)


class WritesInInit(Net):
    """Writes into the pipes of its process while it is built."""

    def __init__(self, text: str) -> None:
        super().__init__()
        write_into_pipes(text)


class ForksInInit(Net):
    """Forks while it is built, and lets the child go on."""

    def __init__(self) -> None:
        super().__init__(width=64)
        os.fork()


class Misbehaves(Net):
    """Does one thing in its first step, which the name says."""

    def __init__(self, what: str) -> None:
        super().__init__(width=64)
        self.what = what

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Do it."""
        getattr(self, f"_{self.what}")()
        return self.loss(batch)

    def _forge(self) -> None:
        write_into_pipes(FORGED)
        os._exit(0)

    def _write(self) -> None:
        write_into_pipes("5\n")

    def _kill_the_supervisor(self) -> None:
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()

    def _stop_the_supervisor(self) -> None:
        os.kill(os.getppid(), signal.SIGSTOP)
        signal.pause()

    def _kill_the_zygote(self) -> None:
        status = Path(f"/proc/{os.getppid()}/stat").read_text(encoding="utf-8")
        os.kill(int(status.rpartition(")")[2].split()[1]), signal.SIGKILL)
        signal.pause()

    def _close_all(self) -> None:
        os.closerange(3, 1 << 16)

    def _print_for_ever(self) -> None:
        noise = b"x" * (1 << 20)
        while True:
            os.write(1, noise)

    def _report_for_ever(self) -> None:
        while True:
            write_into_pipes('{"steps": 1}\n')

    def _print_much(self) -> None:
        noise = b"x" * (1 << 20)
        os.write(1, b"first words\n")
        print("fünf \N{SNOWMAN} \udcff", flush=True)  # noqa: T201 - not every encoding has it
        for _ in range(40):
            os.write(1, noise)
        os.write(2, b"\nlast words \xff\n")
        os._exit(3)


FORGED = (
    json.dumps(
        {
            "phase": "forward",
            "result": {
                "outcome": "fits",
                "detail": None,
                "traceback": None,
                "batch_size": 4,
                "peak_memory_bytes": "none",
                "memory_limit_bytes": 1,
                "samples": 1,
                "steps": 1,
                "samples_per_second": None,
                "growing": False,
                "growth": None,
                "above_limit": False,
                "finite_loss": True,
                "notes": [],
                "values_read": None,
                "rank": None,
            },
        }
    )
    + "\n"
)
"""A result whose peak is no number."""


def write_into_pipes(text: str) -> None:
    """Write a text into each pipe of this process but its streams."""
    for path in list(Path("/proc/self/fd").iterdir()):
        number = int(path.name)
        if number > 2:
            try:
                if stat.S_ISFIFO(os.fstat(number).st_mode):
                    os.write(number, text.encode())
            except OSError:
                continue


def _refuse(*_: Any) -> None:
    raise RuntimeError("no forks here")


def _reap(*_: Any) -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
