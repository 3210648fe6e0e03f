"""Provides experiments with a GPU, or with the bounded CPU that replaces it in a dry run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.devices.finding import find_device
from harness.matrix.settings import GpuSettings
from harness.probes.runner import ProbeRunner

if TYPE_CHECKING:
    from harness.devices.device import Device
    from harness.protocol import WorkloadSpec

ROOT = Path(__file__).resolve().parent.parent.parent
SYS_PATH = [str(ROOT), str(ROOT / "benchmarks"), *sys.path]
FRACTION = 0.9
"""The share of the budget or of the GPU that training may reserve: gpu-profile's default."""

Facts = Iterator[tuple[str, Any]]
"""The facts that an experiment yields: each is on disk before the next one is found."""


class NeedsCudaError(Exception):
    """The experiment has no meaning without a GPU."""


@dataclass(frozen=True)
class Setting:
    """The machine, the memory budget and the folder of an experiment."""

    dry_run: bool
    budget_bytes: int
    directory: Path
    """The folder for logs and recorded histories."""

    @property
    def cuda(self) -> bool:
        """Whether the experiment runs on a GPU."""
        return not self.dry_run

    def require_cuda(self) -> None:
        """Raise NeedsCudaError in a dry run."""
        if self.dry_run:
            raise NeedsCudaError

    def device(self) -> Device:
        """Return the first GPU, or in a dry run the CPU, with the budget as its memory."""
        if self.dry_run:
            return find_device(GpuSettings(accelerator="cpu", budget=self.budget_bytes), FRACTION)
        return find_device(GpuSettings(name="*", budget=self.budget_bytes), FRACTION)

    def runner(
        self, name: str, workload: WorkloadSpec, trainer: dict[str, Any] | None = None
    ) -> ProbeRunner:
        """Return a runner with a new zygote, which starts when the runner is entered."""
        return ProbeRunner(
            workload,
            self.device(),
            trainer or {},
            self.directory / name,
            sys_path=SYS_PATH,
            timeout=180.0,
        )

    def child(
        self,
        name: str,
        timeout: float,
        environment: Mapping[str, str] | None = None,
        **request: Any,
    ) -> dict[str, Any]:
        """Run a function of `children.py` in a process of its own; return exit code and answer."""
        process = start_child(
            name,
            dict(self.device().environment) | dict(environment or {}),
            cuda=self.cuda,
            **request,
        )
        started = time.monotonic()
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
            return {"answer": None, "timed_out": timeout, "stderr": errors[-2000:]}
        answer = None
        for line in output.splitlines():
            if line.startswith("{"):
                answer = json.loads(line)
        ended = {
            "answer": answer,
            "exit_code": process.returncode,
            "seconds": round(time.monotonic() - started, 2),
        }
        return ended if answer is not None else ended | {"stderr": errors[-2000:]}


def start_child(name: str, environment: Mapping[str, str], **request: Any) -> subprocess.Popen[str]:
    """Start `children.py` with its request, as the leader of a process session."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as inbox:
        json.dump(request, inbox)
        inbox.seek(0)
        return subprocess.Popen(
            [sys.executable, "-m", "cuda_experiments.children", name],
            stdin=inbox,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ
            | dict(environment)
            | {"PYTHONPATH": os.pathsep.join(filter(None, SYS_PATH))},
            start_new_session=True,
        )


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while; zygotes inherit them."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def told(error: Exception) -> str:
    """Return an error in one line, for an experiment whose other parts go on."""
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0]


Experiment = Callable[[Setting], Facts]
