"""Helps the tests of the `gpu-profile` command, which run it in a project with one case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from measurements import locked

from harness.measurement import DeviceIdentity

if TYPE_CHECKING:
    from projects import Project

    from harness.lockfile.profiles import LockedProfile

CASE = "net-cpu-48MiB-1"
CPU = DeviceIdentity("cpu", 48 << 20)
SHOW = ["show", CASE, "--field", "batch_size"]
Output = pytest.CaptureFixture[str]


def of_case(model: str = "net", resolution: int = 1, **changes: Any) -> LockedProfile:
    """Make a locked profile of a case of the project."""
    values: dict[str, Any] = {"gpu": "cpu-48MiB", "device": CPU, "emulated": True} | changes
    return locked(model=model, resolution=resolution, **values)


def configure(project: Project, text: str) -> None:
    """Write the project's ini file."""
    (project.path / "pytest.ini").write_text(f"[pytest]\n{text}\n", encoding="utf-8")
