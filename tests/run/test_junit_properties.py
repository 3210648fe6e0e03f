"""The XML of `--junitxml` has the values of each case as properties of its test."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from harness.devices.cpu import CpuDevice

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project
    from warm_zygotes import WarmZygotes


def read(path: Path) -> dict[str, str]:
    """Return the properties of the one test in an XML file."""
    (test,) = ET.parse(path).getroot().iter("testcase")  # noqa: S314 - pytest wrote it
    return {one.attrib["name"]: one.attrib["value"] for one in test.iter("property")}


def assert_values(project: Project) -> None:
    """Check that what was found and what is locked stand in the XML."""
    case = project.report()["net-cpu-48MiB-1"]
    assert {
        "gpu_profile.case": "net-cpu-48MiB-1",
        "gpu_profile.model": "net",
        "gpu_profile.gpu": "cpu-48MiB",
        "gpu_profile.resolution": "1",
        "gpu_profile.status": "passed",
        "gpu_profile.source": "measured",
        "gpu_profile.device_name": "cpu",
        "gpu_profile.device_memory_bytes": str(48 << 20),
        "gpu_profile.batch_size": "16",
        "gpu_profile.max_batch_size": "16",
        "gpu_profile.validation_batch_size": "16",
        "gpu_profile.bounded_by": "cap",
        "gpu_profile.peak_memory_bytes": str(case["peak_memory_bytes"]),
        "gpu_profile.memory_limit_bytes": str(48 << 20),
        "gpu_profile.samples_per_second": str(case["samples_per_second"]),
        "gpu_profile.locked_batch_size": "16",
        "gpu_profile.locked_max_batch_size": "16",
    } == read(project.path / "junit.xml")


@pytest.mark.usefixtures("runs_share_a_zygote")
def test_test_has_the_values_of_its_case(project: Project) -> None:
    """They stand in the older family of JUnit's XML, too."""
    project.lock_cases()
    project.run("--gpu-profile", "--junitxml=junit.xml", "-o", "junit_family=xunit1")
    assert_values(project)


@pytest.mark.usefixtures("new_zygotes")
def test_values_of_xdists_workers_are_there(
    project: Project, warm_zygotes: WarmZygotes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller writes the XML, of the family xunit2, and its workers find the values."""
    ours = {**os.environ, **CpuDevice.environment}
    for name, value in warm_zygotes.variables(ours, project.path / "sessions.txt").items():
        monkeypatch.setenv(name, value)
    project.lock_cases()
    project.run("--gpu-profile", "--junitxml=junit.xml", "-n2", subprocess=True)
    assert_values(project)


def test_skipped_case_has_no_values(project: Project) -> None:
    """A case of a GPU that is not here has its status and its axes."""
    project.write_matrix(gpus="h200")
    project.run("--gpu-profile", "--junitxml=junit.xml")
    found = read(project.path / "junit.xml")
    assert ("skipped", "h200") == (found["gpu_profile.status"], found["gpu_profile.gpu"])
    assert "gpu_profile.max_batch_size" not in found
