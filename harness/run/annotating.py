"""Annotates the lines of a failed run's matrix and code where GitHub reads what the run prints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from harness.matrix.cases import lines_of_models
from harness.report import annotation_commands

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.case_result import CaseResult


def annotations_of(results: Sequence[CaseResult], matrix: Path) -> list[str]:
    """Return the lines to print in a step of GitHub Actions; none elsewhere, as in a terminal."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return []
    lines = lines_of_models(matrix)
    workspace = Path(os.environ.get("GITHUB_WORKSPACE") or Path.cwd())
    return annotation_commands(
        results, matrix, lambda result: lines.get(str(result.axes.get("model")), 1), workspace
    )
