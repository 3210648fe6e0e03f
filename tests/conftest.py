"""Fixtures shared by the tests that run probes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

# pytester forgets what an in-process run imports; C extensions do not survive a second import.
import harness.running
import matplotlib.backends.backend_agg
import matplotlib.figure
from harness.devices.cpu import CpuDevice
from harness.probe import ProbeRunner

TESTS = Path(__file__).parent
MIB = 1 << 20


def workload(module: str, data: str | None = "zoo.Numbers", **more: Any) -> dict[str, Any]:
    """Make the workload mapping of a case from class paths in the zoo."""
    return {
        "module": {"class_path": module, "init_args": more.pop("module_args", {})},
        "data": {"class_path": data, "init_args": more.pop("data_args", {})} if data else None,
        "loss": None,
        "optimizer": None,
        "batch_size_attr": None,
        "learning_rate_attr": None,
    } | more


StartRunner = Callable[..., ProbeRunner]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartRunner]:
    """Start runners on the CPU; they are closed with the test."""
    with ExitStack() as stack:

        def start(
            spec: dict[str, Any],
            budget: int = 64 * MIB,
            trainer: dict[str, Any] | None = None,
            timeout: float = 120.0,
        ) -> ProbeRunner:
            runner = ProbeRunner(
                spec,
                CpuDevice(budget),
                trainer or {},
                tmp_path / "logs",
                sys_path=[str(TESTS), *sys.path],
                timeout=timeout,
            )
            return stack.enter_context(runner)

        yield start


MATRIX = """\
version: 1
matrix:
  model: [{models}]
  gpu: [{gpus}]
  resolution: [1]
models:
{definitions}
gpus:
  cpu-48MiB: {{accelerator: cpu, budget: 48MiB}}
  h200: {{name: NVIDIA H200}}
search: {{max_batch_size: {cap}{search}}}
lr_range: {{num_training: 60, seeds: [0], when: {lr}}}
"""


class Project:
    """A user's project: a matrix of workloads from the zoo, and a module with the imported test."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path
        self.lock = self.path / "profiles" / "gpu-profile.lock"
        self.results = self.path / ".gpu-profile"
        (self.path / "profiles").mkdir()
        # Beside the matrix, where probes find modules without an installation.
        (self.path / "profiles" / "zoo.py").write_bytes((TESTS / "zoo.py").read_bytes())
        (self.path / "test_profiles.py").write_text(
            "from harness.testing import test_gpu_profile\n\ndef test_other():\n    pass\n", encoding="utf-8"
        )
        self.write_matrix()

    def write_matrix(
        self,
        *models: str,
        gpus: str = "cpu-48MiB",
        cap: int = 16,
        search: str = "",
        data: str = "zoo.Numbers",
        lr: str = "never",
    ) -> None:
        """Write a matrix of models of the zoo by class name, labelled in lower case."""
        names = models or ("Net",)
        definitions = "\n".join(
            f"  {name.lower()}: {{module: {{class_path: zoo.{name}}}, data: {{class_path: {data}}}}}"
            for name in names
        )
        text = MATRIX.format(
            models=", ".join(name.lower() for name in names),
            gpus=gpus,
            definitions=definitions,
            cap=cap,
            search=search and ", " + search,
            lr=lr,
        )
        (self.path / "profiles" / "matrix.yaml").write_text(text, encoding="utf-8")

    def run(self, *arguments: str, subprocess: bool = False) -> pytest.RunResult:
        """Run pytest here."""
        run = self.pytester.runpytest_subprocess if subprocess else self.pytester.runpytest_inprocess
        return run("-p", "no:cacheprovider", *arguments)

    def report(self) -> dict[str, Any]:
        """Return the cases of the last run's report.json, by id."""
        data = json.loads((self.results / "report.json").read_text(encoding="utf-8"))
        return {case["id"]: case for case in data["cases"]}


@pytest.fixture
def project(pytester: pytest.Pytester) -> Project:
    """A user's project with one case that the cap bounds: net-cpu-48MiB-1."""
    return Project(pytester)
