"""Where the experiments run: a GPU, or the bounded CPU that stands in for it in a dry run."""

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

from harness.devices import find_device
from harness.probe import ProbeRunner
from harness.settings import GpuSettings

if TYPE_CHECKING:
    from harness.devices import Device

ROOT = Path(__file__).resolve().parent.parent.parent
SYS_PATH = [str(ROOT), str(ROOT / "benchmarks"), *sys.path]
FRACTION = 0.9
"""Of the budget or of the GPU: the harness's default."""

Facts = Iterator[tuple[str, Any]]
"""What an experiment yields one by one, so that each fact is on disk before the next is looked for."""


class NeedsCudaError(Exception):
    """The experiment says nothing without a GPU."""


@dataclass(frozen=True)
class Setting:
    """What an experiment is given."""

    dry_run: bool
    budget_bytes: int
    directory: Path
    """For logs and recorded histories."""

    @property
    def cuda(self) -> bool:
        """Whether a GPU is there."""
        return not self.dry_run

    def require_cuda(self) -> None:
        """Raise NeedsCudaError in a dry run."""
        if self.dry_run:
            raise NeedsCudaError

    def device(self) -> Device:
        """Find the first GPU, emulated down to the budget, or the CPU with that budget."""
        if self.dry_run:
            return find_device(GpuSettings(accelerator="cpu", budget=self.budget_bytes), FRACTION)
        return find_device(GpuSettings(name="*", budget=self.budget_bytes), FRACTION)

    def runner(
        self, name: str, workload: dict[str, Any], trainer: dict[str, Any] | None = None
    ) -> ProbeRunner:
        """Make a fresh zygote ready to be entered."""
        return ProbeRunner(
            workload, self.device(), trainer or {}, self.directory / name, sys_path=SYS_PATH, timeout=180.0
        )

    def child(
        self,
        name: str,
        timeout: float,
        environment: Mapping[str, str] | None = None,
        **request: Any,
    ) -> dict[str, Any]:
        """Run a function of `children.py` in a process of its own; return how it ended and what it answered."""
        process = start_child(
            name, dict(self.device().environment) | dict(environment or {}), cuda=self.cuda, **request
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
    """Start `children.py` with its request; it leads a session of its own."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as inbox:
        json.dump(request, inbox)
        inbox.seek(0)
        return subprocess.Popen(
            [sys.executable, "-m", "cuda_experiments.children", name],
            stdin=inbox,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | dict(environment) | {"PYTHONPATH": os.pathsep.join(filter(None, SYS_PATH))},
            start_new_session=True,
        )


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while: zygotes inherit them."""
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
    """Put an error of one part of an experiment into one line: the other parts go on."""
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0]


Experiment = Callable[[Setting], Facts]
