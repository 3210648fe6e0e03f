"""Whole runs over xdist's workers: which case runs when, on a stub of NVML, without CUDA."""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING

import pytest
from nvml_stub import GIB, gpu, world
from projects import copy_into, use_canned_measurements

from harness.devices.gpu_locks import LOCK_FOLDER
from harness.file_locks import locked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from projects import Project

MATRIX = """\
version: 1
matrix: {model: [net, novalidation], gpu: [h200, a100], resolution: [1]}
models:
  net: {module: {class_path: zoo.Net}, data: {class_path: zoo.Numbers}}
  novalidation: {module: {class_path: zoo.NoValidation}, data: {class_path: zoo.Numbers}}
gpus: {h200: {name: NVIDIA H200}, a100: {name: NVIDIA A100}}
"""
# Canned measurements that hold their GPU, as real ones do.
HOLDING = """
import canned_measurements
import harness.measure.measuring

def measure_case(case, device, *rest):
    with device.hold():
        return canned_measurements.measure_case(case, device, *rest)

vars(harness.measure.measuring)["measure_case"] = measure_case
"""


@pytest.fixture
def gpus(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Make a machine with an H200 and an A100, and four cases; return the UUIDs of the GPUs."""
    copy_into(project.path, "halting.py", "canned_measurements.py", "measurements.py")
    (project.path / "conftest.py").write_text(HOLDING)
    (project.path / "profiles" / "matrix.yaml").write_text(MATRIX)
    # Their locks are the machine's: no test beside this one may have the same GPUs.
    uuids = [f"GPU-{uuid.uuid4()}" for _ in range(2)]
    here = [
        gpu(uuid=uuids[0]),
        gpu("NVIDIA A100", 80 * GIB, uuid=uuids[1], bus="00000000:08:00.0"),
    ]
    for name, value in world(tmp_path, here).items():
        monkeypatch.setenv(name, value)
    yield uuids
    for one in uuids:
        (LOCK_FOLDER / f"gpu-profile-{one}.lock").unlink(missing_ok=True)


def ends(result: pytest.RunResult) -> list[str]:
    """Return how each test ended, in that order: `PASSED net-a100-1`."""
    line = re.compile(r"\[gw\d+\] \[ *\d+%\] ([A-Z]+) [^\[]*\[(.*)\] *$")
    found = filter(None, map(line.match, result.outlines))
    return [f"{one[1]} {one[2]}" for one in found]


@pytest.mark.slow
def test_case_that_waits_for_one_gpu_stops_no_case_of_another(
    project: Project, gpus: list[str]
) -> None:
    """While another run holds the H200, one worker waits for it, and one runs both of the A100."""
    with locked(LOCK_FOLDER / f"gpu-profile-{gpus[0]}.lock", "another run"):
        result = project.run(
            *("--gpu-profile", "--gpu-profile-update", "--gpu-profile-wait", "10"),
            *("-n", "auto", "-v"),
            subprocess=True,
        )
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(["2 workers *4 items*"])
    assert ["PASSED net-a100-1", "PASSED novalidation-a100-1"] == ends(result)[:2]
    result.stderr.fnmatch_lines([f"*NVIDIA H200 ({gpus[0]}): waiting for process *"])


@pytest.mark.slow
def test_dead_worker_takes_one_case_of_eight(project: Project) -> None:
    """Of eight workers one is killed in its case: all others are locked, and reports list it."""
    use_canned_measurements(
        project,
        "import os, signal\n\n"
        "def pytest_runtest_call(item):\n"
        "    if 'net-cpu-48MiB-5]' in item.name:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n",
    )
    matrix = project.path / "profiles" / "matrix.yaml"
    numbers = ", ".join(map(str, range(1, 13)))
    matrix.write_text(matrix.read_text().replace("resolution: [1]", f"resolution: [{numbers}]"))
    result = project.run("--gpu-profile", "--gpu-profile-update", "-n8", subprocess=True)
    result.assert_outcomes(passed=11, failed=1)
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    assert 11 == project.lock.read_text().count("[[profile]]")
    cases = json.loads((project.results / "report.json").read_text())["cases"]
    errors = [(one["id"], one["reason"]) for one in cases if one["status"] == "error"]
    assert 12 == len(cases)
    assert [("net-cpu-48MiB-5", "worker")] == [(name, why.split()[0]) for name, why in errors]
    assert errors[0][1].endswith(" crashed: the next run goes on from there")


@pytest.mark.slow
def test_fixtures_of_several_modules_are_torn_down(project: Project) -> None:
    """A worker with tests of several modules in turn makes and ends their fixtures in order."""
    use_canned_measurements(
        project,
        "import pytest\n\n"
        "@pytest.fixture(scope='module', autouse=True)\n"
        "def of_module(request):\n"
        "    print('begin', request.module.__name__)\n"
        "    yield\n"
        "    print('end', request.module.__name__)\n",
    )
    (project.path / "test_more.py").write_text(
        "def test_more(gpu_profile):\n    assert gpu_profile.measurement.max_batch_size == 4\n"
    )
    project.write_matrix("Net", "NoValidation", "Manual")
    result = project.run("--gpu-profile", "--gpu-profile-update", "-n1", "-rP", subprocess=True)
    result.assert_outcomes(passed=6)
    told = [line for line in result.outlines if line.startswith(("begin ", "end "))]
    assert told[::2] == [f"begin {line.split()[1]}" for line in told[1::2]]
    assert {"begin test_profiles", "begin test_more"} == {*told[::2]}


@pytest.mark.slow
def test_no_more_workers_than_cases(project: Project) -> None:
    """One case of the CPU gets one worker."""
    use_canned_measurements(project)
    result = project.run("--gpu-profile", "-n", "auto", "-v", subprocess=True)
    result.stdout.fnmatch_lines(["1 worker *1 item*"])
