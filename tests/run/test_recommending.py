"""Recommended precisions at the end of a run, by what it measured and by what is locked."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from harness.lockfile.profiles import read_lock
from harness.lockfile.write import update_lock

if TYPE_CHECKING:
    from projects import Project

pytestmark = pytest.mark.usefixtures("runs_share_a_zygote")

MATRIX = """\
version: 1
matrix:
  model: [net]
  gpu: [cpu-48MiB, h200]
  resolution: [1]
  precision: [32-true, bf16-mixed]
models:
  net: {module: {class_path: zoo.Net}, data: {class_path: zoo.Numbers}}
gpus:
  cpu-48MiB: {accelerator: cpu, budget: 48MiB}
  h200: {name: NVIDIA H200}
trainer: {precision: "${precision}"}
search: {max_batch_size: 4}
lr_range: {when: never}
"""


def recommended(project: Project) -> Any:
    """Return the recommendations of the last report.json."""
    data = json.loads((project.results / "report.json").read_text(encoding="utf-8"))
    return data["recommended_precisions"]


def test_run_recommends_a_precision_by_its_speeds_and_the_lock(project: Project) -> None:
    """Without an LR range test there is none; with locked rates a run of one case suffices.

    Nothing is said of a GPU that is not here.
    """
    (project.path / "profiles" / "matrix.yaml").write_text(MATRIX, encoding="utf-8")
    first = project.run("--gpu-profile", "--gpu-profile-update")
    first.assert_outcomes(passed=2, skipped=2, deselected=1)
    why = "no LR range test ran, so nothing shows that it learns"
    assert [{"32-true": why, "bf16-mixed": why}] == [
        one["left_out"] for one in recommended(project)
    ]
    first.stdout.fnmatch_lines(
        ["net-cpu-48MiB-1: no precision is recommended; left out: 32-true:*"]
    )

    # A run of minutes would lock these rates; the speed of bf16-mixed is out of reach.
    update_lock(
        project.lock,
        [
            replace(
                profile,
                learning_rate=1e-3,
                learning_rate_range=(5e-4, 2e-3),
                learning_rates=(1e-3,),
                samples_per_second=1e9 if profile.precision == "bf16-mixed" else 1.0,
            )
            for profile in read_lock(project.lock)
        ],
    )
    second = project.run("--gpu-profile", "-k", "32-true and cpu")
    second.assert_outcomes(passed=1, deselected=4)
    (found,) = recommended(project)
    assert ("bf16-mixed", "net-cpu-48MiB-1-bf16-mixed", {}) == (
        found["precision"],
        found["case_id"],
        found["left_out"],
    )
    measured = project.report()["net-cpu-48MiB-1-32-true"]["samples_per_second"]
    assert {"bf16-mixed": 1e9, "32-true": measured} == found["samples_per_second"]
    second.stdout.fnmatch_lines(["net-cpu-48MiB-1: precision bf16-mixed is recommended: *"])
    page = (project.results / "report.md").read_text(encoding="utf-8")
    assert "precision bf16-mixed is recommended" in page
