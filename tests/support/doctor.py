"""Helps the tests of `gpu-profile doctor`: runs one check in a project."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from harness.cli.find_paths import read_paths
from harness.doctor.findings import Project, run_checks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from harness.doctor.findings import Finding

ON_GPUS = """
import argparse
from harness.cli.find_paths import read_paths
from harness.doctor import gpus
from harness.doctor.findings import Project, run_checks

def found(check, matrix=None):
    options = argparse.Namespace(matrix=matrix, lock=None)
    checks = [("", check)]
    tell(lambda: [one for _, one in run_checks(checks, Project(lambda: read_paths(options)))])
"""
"""The beginning of a script for `nvml_stub.told`; `found(check)` prints what a check finds."""


def findings(check: Callable[[Project], Iterable[Finding]], seconds: float = 60.0) -> list[Finding]:
    """Return what a check finds in the working directory, as the command runs it."""
    options = argparse.Namespace(matrix=None, lock=None)
    project = Project(lambda: read_paths(options))
    return [found for _, found in run_checks([("", check)], project, seconds)]


def not_ok(check: Callable[[Project], Iterable[Finding]]) -> list[tuple[str, str]]:
    """Return level and text of what is a note or wrong, with what to do behind it."""
    return [
        (one.level, f"{one.found} -> {one.remedy}" if one.remedy else one.found)
        for one in findings(check)
        if one.level != "ok"
    ]
