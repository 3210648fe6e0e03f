"""Worlds of simulated GPUs for tests, and processes that live in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch_server import PREAMBLE, TorchServer

from harness.simulated.environment import environment
from harness.simulated.world import SimulatedGpu, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from warm_zygotes import WarmZygotes

MIB, GIB = 1 << 20, 1 << 30
CONTEXT = 530 * MIB
H100_TOTAL, H100_NVML = 81008 * MIB, 81559 * MIB
# Variables of the machine that would change what a test sees.
_CLEARED = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "PYTORCH_CUDA_ALLOC_CONF")


def h100(**changes: Any) -> SimulatedGpu:
    """Make an H100 as harness/predict/gpus.py has it, whose convolutions ask for no workspace."""
    facts: dict[str, Any] = {
        "name": "NVIDIA H100 80GB HBM3",
        "total_bytes": H100_TOTAL,
        "nvml_bytes": H100_NVML,
        "capability": (9, 0),
        "context_bytes": CONTEXT,
        "workspace_bytes": 0,
    }
    return SimulatedGpu(**(facts | changes))


MIG = (
    h100(mig=True),
    h100(
        name="NVIDIA H100 MIG 1g.10gb",
        total_bytes=9 * GIB,
        nvml_bytes=10 * GIB,
        parent=0,
        instance=(7, 0),
    ),
    h100(
        name="NVIDIA H100 MIG 2g.20gb",
        total_bytes=19 * GIB,
        nvml_bytes=20 * GIB,
        parent=0,
        instance=(3, 0),
    ),
)
"""A GPU in MIG mode, and its two instances."""


@dataclass
class Worlds:
    """Makes worlds in a test's folder, and runs scripts in them."""

    folder: Path
    server: TorchServer
    zygotes: WarmZygotes | None = None
    runs: int = field(default=0)

    def make(self, *gpus: SimulatedGpu, **settings: Any) -> World:
        """Make a world; of one H100 where no GPU is given."""
        return World.create(self.folder / "world", gpus or (h100(),), **settings)

    def run(self, world: World, script: str, **variables: str | None) -> list[Any]:
        """Run a script to its end; return what it told."""
        status, output = self.ended(world, script, **variables)
        assert status == 0, output
        return [json.loads(line) for line in output.splitlines() if _is_json(line)]

    def ended(self, world: World, script: str, **variables: str | None) -> tuple[int, str]:
        """Run a script; return its exit status and what it printed."""
        self.runs += 1
        path, output = self.folder / f"{self.runs}.py", self.folder / f"{self.runs}.txt"
        path.write_text(script, encoding="utf-8")
        cleared = dict.fromkeys(_CLEARED)
        wanted = {"GPU_PROFILE_SIMULATED_WORLD": str(world.path)}
        status = self.server.run(path, cleared | wanted | variables, output)
        return status, output.read_text(encoding="utf-8")

    def fresh(self, world: World, script: str, **variables: str) -> list[Any]:
        """Run a script in a new Python: for variables that torch reads while it is imported."""
        done = subprocess.run(
            [sys.executable, "-c", PREAMBLE + script],
            env=inside(world) | variables,
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines() if _is_json(line)]

    @contextmanager
    def holding(self, world: World, script: str) -> Iterator[subprocess.Popen[str]]:
        """Start a script that tells something and then holds what it has until it is let go."""
        with subprocess.Popen(
            [sys.executable, "-c", PREAMBLE + script + "\ntell('holds'); sys.stdin.read()"],
            env=inside(world),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == '"holds"\n'
            yield process


def inside(world: World) -> dict[str, str]:
    """Return all variables of a process that lives in a world."""
    kept = {name: value for name, value in os.environ.items() if name not in _CLEARED}
    return kept | environment(world, kept)


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
