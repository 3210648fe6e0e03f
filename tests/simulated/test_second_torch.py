"""The core of the simulated GPU under another torch, in an environment of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

SECOND = os.environ.get("GPU_PROFILE_SECOND_PYTHON")
ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.simulated,
    pytest.mark.slow,
    pytest.mark.skipif(
        SECOND is None,
        reason="GPU_PROFILE_SECOND_PYTHON names no Python with another CUDA build of torch: see "
        "CONTRIBUTING.md",
    ),
]


@pytest.mark.parametrize(
    "core",
    [
        "test_gpu_memory.py",
        "test_faults.py",
        "test_exceptions.py",
        "test_operators.py",
        "test_nvml.py",
        "test_whole_runs.py::test_search_ends_in_torchs_own_out_of_memory",
    ],
)
def test_core_holds_under_another_torch(core: str, tmp_path: Path) -> None:
    """Each of the core tests passes there, and none is skipped."""
    assert SECOND is not None
    command = [SECOND, "-m", "pytest", "-m", "simulated and not slow", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, f"--junitxml={tmp_path / 'report.xml'}", ROOT / "tests" / "simulated" / core],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=900,
    )
    report = ET.parse(tmp_path / "report.xml").getroot()[0].attrib  # noqa: S314 - pytest wrote it
    told = {name: int(report[name]) for name in ("errors", "failures", "skipped")}
    assert (0, {"errors": 0, "failures": 0, "skipped": 0}) == (done.returncode, told), done.stdout
