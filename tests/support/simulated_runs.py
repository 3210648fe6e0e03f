"""Whole runs of `pytest --gpu-profile` over simulated GPUs, in a user's small project."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from simulated_worlds import h100, inside

from harness.devices.cuda_environment import showing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from simulated_worlds import Worlds
    from warm_zygotes import WarmZygotes

PYTEST = (sys.executable, "-m", "pytest", "--gpu-profile", "-p", "no:cacheprovider")
MATRIX = """
version: 1
matrix: {model: [net], gpu: [h100-as-1GiB], resolution: [32]}
models:
  net:
    module: {class_path: net.Net}
    loss: {class_path: torch.nn.CrossEntropyLoss}
    data: {class_path: harness.synthetic.SyntheticImages, init_args: {resolution: "${resolution}", num_classes: 10}}
gpus:
  h100-as-1GiB: {name: NVIDIA H100*, budget: 1GiB}
"""
NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.mix = nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1)
        self.act, self.head = nn.ReLU(inplace=True), nn.Linear(64, 10)

    def forward(self, images):
        x = self.act(self.mix(self.act(self.stem(images))))
        return self.head(x.mean((2, 3)))
"""


def halting(condition: str = "True") -> str:
    """Return the module of a project whose probes halt in their forward pass, on a condition.

    condition: an expression of `images`, the batch. The trace of a prediction runs the same code on
    tensors without memory, and does not halt.
    """
    return NET.replace(
        "        x = self.act(self",
        f"        if type(images) is torch.Tensor and {condition}:\n"
        "            kept = torch.empty(1 << 29, dtype=torch.uint8, device='cuda')\n"
        "            open('reached', 'w').write('x'); open('never').read()\n"
        "        x = self.act(self",
    )


def make_project(folder: Path, matrix: str = MATRIX, net: str = NET) -> Path:
    """Make a user's project with one case on a GPU, and leave it unlocked; return its folder."""
    (folder / "profiles").mkdir(parents=True)
    (folder / "profiles" / "test_profiles.py").write_text(
        "from harness.testing import test_gpu_profile\n"
    )
    (folder / "profiles" / "matrix.yaml").write_text(matrix)
    (folder / "net.py").write_text(net)
    return folder


def report_of(folder: Path) -> list[Any]:
    """Return the cases of the last run's report."""
    cases: list[Any] = json.loads((folder / ".gpu-profile" / "report.json").read_text())["cases"]
    return cases


def run(worlds: Worlds, folder: Path, *flags: str, **changes: Any) -> tuple[int, str, Any]:
    """Run the case on one H100; return the exit code, the output and the case of the report."""
    environment = inside(worlds.make(h100(**changes)))
    code, output = start(folder, environment, *flags, zygotes=worlds.zygotes)
    (case,) = report_of(folder)
    return code, output, case


def start(
    folder: Path,
    environment: dict[str, str],
    *flags: str,
    zygotes: WarmZygotes | None = None,
    seconds: float = 280,
) -> tuple[int, str]:
    """Run the cases of a project to the end; return the exit code and the output.

    The zygotes of the run are new Pythons, or `zygotes`. The test fails after `seconds`.
    """
    if zygotes is not None:
        ours = environment | showing("of the case")
        environment = environment | zygotes.variables(ours, folder / "sessions.txt")
    done = subprocess.run(
        [*PYTEST, *flags],
        env=environment,
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    return done.returncode, done.stdout


@contextmanager
def halted(
    folder: Path, environment: dict[str, str], *flags: str
) -> Iterator[subprocess.Popen[str]]:
    """Start the cases of a project that is `halting`, in a process group of their own.

    The block begins when a probe has halted; at its end the run must have ended, or is killed.
    """
    for fifo in ("reached", "never"):
        os.mkfifo(folder / fifo)
    # Opened for writing, too, so that the probe can open its end at any time.
    reader = os.open(folder / "reached", os.O_RDWR | os.O_NONBLOCK)
    with subprocess.Popen(
        [*PYTEST, *flags],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    ) as process:
        ended = os.pidfd_open(process.pid)
        try:
            ready, _, _ = select.select([reader, ended], [], [], 200)
            if ready != [reader]:
                process.kill()
                raise AssertionError(f"no probe has halted:\n{process.communicate()[0]}")
            yield process
        finally:
            process.kill()
            os.close(ended)
            os.close(reader)


def wait_for_the_end(processes: list[int]) -> None:
    """Wait until processes have ended, given by descriptors of `os.pidfd_open`; close these."""
    for descriptor in processes:
        select.select([descriptor], [], [])
        os.close(descriptor)


def train_outcomes(case: Any) -> dict[int, str]:
    """Return the outcome of each batch size that was trained."""
    return {
        probe["batch_size"]: probe["outcome"]
        for probe in case["probes"]
        if probe["kind"] == "train"
    }
