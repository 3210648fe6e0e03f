"""Experiment 9: runs `pytest --gpu-profile` as a user does, and Lightning's Tuner beside it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from cuda_experiments.models import main_workload
from cuda_experiments.processes import SYS_PATH

if TYPE_CHECKING:
    from pathlib import Path

    from cuda_experiments.setting import Note, Setting

_RUNS: tuple[tuple[str, str, list[str]], ...] = (
    ("update", "workload", ["--gpu-profile-update"]),
    ("warm", "workload", []),
    ("with a planted regression", "hungry", []),
    ("cold", "workload", []),
)
_RUN_SECONDS, _TUNER_SECONDS = 120.0, 90.0


def whole_runs(setting: Setting, note: Note) -> None:
    """Run with an update, warm, with a planted regression, and cold.

    The update locks and the warm run passes. Twice the activations are the regression, which
    fails. The cold run fails because nothing is locked.
    """
    project = setting.directory / "project"
    shutil.rmtree(project, ignore_errors=True)
    for name, module, options in _RUNS[: 2 if setting.cut_down else None]:
        write_project(project, setting, module)
        if name == "cold":
            (project / "profiles" / "gpu-profile.lock").unlink(missing_ok=True)
        note(name, run_pytest(project, options))
    if setting.cut_down:
        return
    spec, bound = main_workload(cut_down=False), setting.device().bound
    note("Lightning's Tuner", setting.child("tuner", _TUNER_SECONDS, spec=spec, bound=bound))


def write_project(project: Path, setting: Setting, module: str) -> None:
    """Write a user's project; `module` names the function in it that makes the model."""
    (project / "profiles").mkdir(parents=True, exist_ok=True)
    spec = main_workload(cut_down=setting.cut_down)
    (project / "models.py").write_text(
        "import json\n\nfrom torch import nn\n\nfrom harness.workload.build import instantiate\n\n"
        f"SPEC = json.loads({json.dumps(spec['module'])!r})\n\n\n"
        "def workload():\n    return instantiate(SPEC)\n\n\n"
        "class Twice(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.one, self.other = workload(), workload()\n\n"
        "    def forward(self, images):\n        return self.one(images) + self.other(images)\n\n\n"
        "def hungry():\n    return Twice()\n",
        encoding="utf-8",
    )
    device: dict[str, Any] = {"name": "*", "budget": setting.budget_bytes}
    matrix = {
        "version": 1,
        "matrix": {"model": ["net"], "gpu": ["here"], "resolution": [1]},
        "models": {"net": {"module": {"class_path": f"models.{module}"}, "data": spec["data"]}},
        "gpus": {"here": device},
        "lr_range": {"when": "never"},
    }
    # JSON is YAML.
    (project / "profiles" / "matrix.yaml").write_text(
        json.dumps(matrix, indent=1), encoding="utf-8"
    )
    (project / "profiles" / "test_profiles.py").write_text(
        "from harness.testing import test_gpu_profile\n", encoding="utf-8"
    )
    (project / "pytest.ini").write_text("[pytest]\ntestpaths = profiles\n", encoding="utf-8")


def run_pytest(project: Path, options: list[str]) -> dict[str, Any]:
    """Run pytest in the project; return its exit code, its last lines and its cases."""
    started = time.monotonic()
    report = project / ".gpu-profile" / "report.json"
    report.unlink(missing_ok=True)
    path = os.pathsep.join(filter(None, [str(project), *SYS_PATH]))
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "--gpu-profile",
            *options,
            *_plugin(),
        ],
        cwd=project,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=_RUN_SECONDS,
    )
    seconds = round(time.monotonic() - started, 1)
    cases = json.loads(report.read_text(encoding="utf-8"))["cases"] if report.exists() else []
    return {
        "exit_code": done.returncode,
        "seconds": seconds,
        "cases": [
            {
                key: case.get(key)
                for key in ("id", "status", "reason", "max_batch_size", "bounded_by")
            }
            | {"num_probes": len(case.get("probes", []))}
            for case in cases
        ],
        "output": (done.stdout + done.stderr)[-3000:],
    }


def _plugin() -> list[str]:
    """Return the option that loads the plugin where the package is not installed."""
    from importlib.metadata import entry_points  # noqa: PLC0415

    installed = any(point.name == "gpu_profile" for point in entry_points(group="pytest11"))
    return [] if installed else ["-p", "harness.plugin"]
