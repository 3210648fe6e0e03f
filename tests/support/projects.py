"""Helps the tests that run probes or whole pytest runs: makes users' projects and workloads."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.probes.runner import ProbeRunner

if TYPE_CHECKING:
    import pytest

    from harness.protocol.case import WorkloadSpec

SUPPORT = Path(__file__).parent
TESTS = SUPPORT.parent
WORKLOADS = TESTS / "workloads"
DATA = TESTS / "data"
MIB = 1 << 20

StartRunner = Callable[..., ProbeRunner]


def copy_into(folder: Path, *names: str) -> None:
    """Copy modules of the tests' support or workloads into a user's project."""
    for name in names:
        source = next(home / name for home in (WORKLOADS, SUPPORT) if (home / name).exists())
        (folder / name).write_bytes(source.read_bytes())


def make_files(root: Path, files: Mapping[str, str]) -> Path:
    """Make files with these texts below a folder, and return the folder."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """Return a temporary folder that all of xdist's workers share."""
    folder = factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


def workload(module: str, data: str | None = "zoo.Numbers", **more: Any) -> WorkloadSpec:
    """Make the workload mapping of a case from class paths in the zoo."""
    spec: WorkloadSpec = {
        "module": {"class_path": module, "init_args": more.pop("module_args", {})},
        "data": {"class_path": data, "init_args": more.pop("data_args", {})} if data else None,
        "loss": None,
        "optimizer": None,
        "batch_size_attr": None,
        "learning_rate_attr": None,
    }
    return spec | more  # type: ignore[return-value] # a test may change any value


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


# Texts of lockfiles that updates wrote in this process, by the text of the matrix.
_LOCKED: dict[bytes, bytes] = {}


class Project:
    """A user's project: a matrix of workloads from the zoo, and a module with the imported test."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path
        self.lock = self.path / "profiles" / "gpu-profile.lock"
        self.results = self.path / ".gpu-profile"
        (self.path / "profiles").mkdir()
        # Beside the matrix, where probes find modules without an installation.
        copy_into(self.path / "profiles", "zoo.py")
        (self.path / "test_profiles.py").write_text(
            "from harness.testing import test_gpu_profile\n\ndef test_other():\n    pass\n",
            encoding="utf-8",
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
            f"  {name.lower()}: {{module: {{class_path: zoo.{name}}}, "
            f"data: {{class_path: {data}}}}}"
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
        run = (
            self.pytester.runpytest_subprocess if subprocess else self.pytester.runpytest_inprocess
        )
        return run("-p", "no:cacheprovider", *arguments)

    def lock_cases(self) -> None:
        """Lock the matrix's cases as an updating run does; measure equal matrices once for all."""
        matrix = (self.path / "profiles" / "matrix.yaml").read_bytes()
        if matrix not in _LOCKED:
            self.run("--gpu-profile", "--gpu-profile-update")
            _LOCKED[matrix] = self.lock.read_bytes()
        self.lock.write_bytes(_LOCKED[matrix])

    def report(self) -> dict[str, Any]:
        """Return the cases of the last run's report.json, by id."""
        data = json.loads((self.results / "report.json").read_text(encoding="utf-8"))
        return {case["id"]: case for case in data["cases"]}


def use_canned_measurements(project: Project, conftest: str = "") -> None:
    """Make the measurements of a project's runs canned; they run in processes of their own."""
    copy_into(project.path, "halting.py", "canned_measurements.py", "measurements.py")
    (project.path / "conftest.py").write_text(
        f"import canned_measurements\n\ncanned_measurements.install()\n{conftest}",
        encoding="utf-8",
    )
