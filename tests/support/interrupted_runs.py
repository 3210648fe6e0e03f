"""Runs pytest until it halts in a chosen phase, so that a test can interrupt it there."""

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

from projects import copy_into

from harness.devices.cpu import CpuDevice

if TYPE_CHECKING:
    from types import TracebackType

    from projects import Project
    from warm_zygotes import WarmZygotes

CASE = "net-cpu-48MiB-1"
# In seconds: enough on a loaded machine to start pytest, import torch and measure a small case.
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
lr_range: {num_training: 70, seeds: [0]}
"""


def make_halting(project: Project, *, canned: bool = False) -> None:
    """Make the project halt in the phase that the environment names.

    Its case, its test module and its conftest can halt. Measurements are real, or else `canned`.
    """
    copy_into(
        project.path,
        "halting.py",
        "halting_zoo.py",
        "canned_measurements.py",
        "measurements.py",
    )
    (project.path / "profiles" / "matrix.yaml").write_text(MATRIX, encoding="utf-8")
    conftest = "import halting\n\nhalting.halt_at_files()\n"
    if canned:
        conftest += "import canned_measurements\n\ncanned_measurements.install()\n"
    (project.path / "conftest.py").write_text(conftest, encoding="utf-8")
    (project.path / "test_profiles.py").write_text(
        "import halting\nfrom harness.testing import test_gpu_profile\n\nhalting.halt('collect')\n",
        encoding="utf-8",
    )


class HaltingRun:
    """An updating pytest run in a process group of its own.

    Use it as a context manager, which kills the run at its end. A variable in their environment
    marks its processes. Its temporary files go to a folder of its own. Its zygotes are new Pythons,
    or `zygotes`.
    """

    def __init__(
        self, project: Project, phase: str, *arguments: str, zygotes: WarmZygotes | None = None
    ) -> None:
        self._mark = uuid.uuid4().hex
        self.project = project
        folder = project.path / f"run-{self._mark[:8]}"
        folder.mkdir()
        self.scratch = folder / "tmp"
        self.scratch.mkdir()
        self._reached, self._released = folder / "reached", folder / "released"
        for fifo in (self._reached, self._released):
            os.mkfifo(fifo)
        # Opened for reading at once, so that the run can open its end at any time. Opened for
        # writing too, so that reading never meets the end of the file.
        self._reader = os.open(self._reached, os.O_RDWR | os.O_NONBLOCK)
        self._output = folder / "output.txt"
        environment = os.environ | {
            "TMPDIR": str(self.scratch),
            "HALTING_RUN": self._mark,
            "HALT_IN": phase,
            "HALT_REACHED": str(self._reached),
            "HALT_RELEASED": str(self._released),
        }
        self._sessions = folder / "sessions.txt"
        if zygotes is not None:
            ours = {**os.environ, **CpuDevice.environment}
            environment |= zygotes.variables(ours, self._sessions)
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
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._reader)

    @property
    def output(self) -> str:
        """The output of the run."""
        return self._output.read_text(encoding="utf-8")

    def wait_until_halted(self, times: int = 1) -> None:
        """Wait until this number of processes of the run have reached its phase."""
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
        """Send a signal to pytest, or to its group as Ctrl-C in a terminal does.

        Returns pytest's exit code.
        """
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end and return the exit code."""
        return self.process.wait(_PATIENCE)

    def processes(self) -> list[int]:
        """Return the ids of the run's processes that still live."""
        mark = f"HALTING_RUN={self._mark}".encode()
        noted = self._sessions.read_text() if self._sessions.exists() else ""
        zygotes = {int(line) for line in noted.split()}
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # it ended meanwhile
                pid = int(path.parent.name)
                if mark in path.read_bytes() or os.getsid(pid) in zygotes:
                    found.append(pid)
        return found

    def survivors(self, patience: float = 15.0) -> list[int]:
        """Return the ids of processes that still live after `patience` seconds."""
        deadline = time.monotonic() + patience
        while (alive := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return alive

    def leftovers(self) -> list[str]:
        """Return the names of temporary files and of half-written files beside others.

        The locks that exclude writers do not count, nor those by which runs take turns.
        """
        locks = {".lock", ".turn"}
        temporary = [path.name for path in self.scratch.iterdir() if path.suffix not in locks]
        folders = (self.project.lock.parent, self.project.results)
        return temporary + [path.name for folder in folders for path in folder.glob(".*.tmp")]
