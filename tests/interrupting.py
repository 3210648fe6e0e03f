"""Runs of pytest that halt in a chosen phase, so that a test can interrupt them there and see what is left."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from support import TESTS

if TYPE_CHECKING:
    from types import TracebackType

    from support import Project

CASE = "net-cpu-48MiB-1"
# Starting pytest, importing torch and measuring a small case, on a loaded machine.
_PATIENCE = 120.0

MATRIX = """\
version: 1
matrix: {model: [net], gpu: [cpu-48MiB], resolution: [1]}
models:
  net:
    module: {class_path: halting_zoo.Net}
    data: {class_path: halting_zoo.Numbers, init_args: {num_samples: 64}}
gpus:
  cpu-48MiB: {accelerator: cpu, budget: 48MiB}
search: {max_batch_size: 4, steps_per_trial: 1, validation: search}
lr_range: {num_training: 20, seeds: [0]}
"""


def make_halting(project: Project, *, canned: bool = False) -> None:
    """Make the project's one case, its test module and its conftest halt in the phase of the environment.

    Its measurements are real, or `canned` ones.
    """
    for name in ("halting.py", "halting_zoo.py", "canned.py", "making.py"):
        (project.path / name).write_bytes((TESTS / name).read_bytes())
    (project.path / "profiles" / "matrix.yaml").write_text(MATRIX, encoding="utf-8")
    conftest = "import halting\n\nhalting.halt_at_files()\n"
    if canned:
        conftest += "import canned\n\ncanned.install()\n"
    (project.path / "conftest.py").write_text(conftest, encoding="utf-8")
    (project.path / "test_profiles.py").write_text(
        "import halting\nfrom harness.testing import test_gpu_profile\n\nhalting.halt('collect')\n",
        encoding="utf-8",
    )


class HaltingRun:
    """An updating pytest run in a process group of its own. Use as a context manager: it is killed at the end.

    Its processes are known by a variable in their environment. Temporary files go to a folder of its own.
    """

    def __init__(self, project: Project, phase: str, *arguments: str) -> None:
        self._mark = uuid.uuid4().hex
        self.project = project
        folder = project.path / f"run-{self._mark[:8]}"
        folder.mkdir()
        self.scratch = folder / "tmp"
        self.scratch.mkdir()
        self._reached, self._released = folder / "reached", folder / "released"
        for fifo in (self._reached, self._released):
            os.mkfifo(fifo)
        # A reader from the start, so that the run can open its end at any time, and a writer, against ends of file.
        self._reader = os.open(self._reached, os.O_RDWR | os.O_NONBLOCK)
        self._output = folder / "output.txt"
        environment = os.environ | {
            "TMPDIR": str(self.scratch),
            "HALTING_RUN": self._mark,
            "HALT_IN": phase,
            "HALT_REACHED": str(self._reached),
            "HALT_RELEASED": str(self._released),
        }
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, "--gpu-profile", "--gpu-profile-update", *arguments],
                cwd=project.path,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._reader)

    @property
    def output(self) -> str:
        """What it printed."""
        return self._output.read_text(encoding="utf-8")

    def wait_until_halted(self, times: int = 1) -> None:
        """Wait until the run is in its phase, in as many processes."""
        ended = os.pidfd_open(self.process.pid)
        try:
            for _ in range(times):
                ready, _, _ = select.select([self._reader, ended], [], [], _PATIENCE)
                assert [self._reader] == ready, f"the run ended before its phase:\n{self.output}"
                while os.read(self._reader, 1) != b"\n":
                    pass
        finally:
            os.close(ended)

    def release(self) -> None:
        """Let the run go on."""
        self._released.write_bytes(b"")

    def end(self, number: signal.Signals, *, group: bool = False) -> int:
        """Send a signal to pytest, or as Ctrl-C in a terminal does to its group; returns its exit code."""
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end and return the exit code."""
        return self.process.wait(_PATIENCE)

    def processes(self) -> list[int]:
        """Return all that the run has started and that still lives."""
        mark = f"HALTING_RUN={self._mark}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # it ended meanwhile
                if mark in path.read_bytes():
                    found.append(int(path.parent.name))
        return found

    def survivors(self, patience: float = 15.0) -> list[int]:
        """Return what still lives when the processes have had `patience` seconds to end."""
        deadline = time.monotonic() + patience
        while (alive := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return alive

    def leftovers(self) -> list[str]:
        """Return temporary files, but for the locks that exclude writers, and half-written files beside others."""
        temporary = [path.name for path in self.scratch.iterdir() if path.suffix != ".lock"]
        folders = (self.project.lock.parent, self.project.results)
        return temporary + [path.name for folder in folders for path in folder.glob(".*.tmp")]
