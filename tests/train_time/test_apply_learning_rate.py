"""A run locks learning rates, `apply` sets them, and the optimizer gets what was measured."""

from __future__ import annotations

from typing import Any

import pytest
import rate_zoo
import zoo
from projects import Project, copy_into

import harness

pytestmark = pytest.mark.usefixtures("runs_share_a_zygote")

MATRIX = """\
version: 1
matrix:
  model: [head, fixedbody, perbatch]
  gpu: [cpu-48MiB]
  resolution: [1]
models:
  head: {module: {class_path: rate_zoo.Head}, data: {class_path: zoo.Numbers}}
  fixedbody: {module: {class_path: rate_zoo.FixedBody}, data: {class_path: zoo.Numbers}}
  perbatch: {module: {class_path: rate_zoo.PerBatch}, data: {class_path: zoo.Numbers}}
gpus:
  cpu-48MiB: {accelerator: cpu, budget: 48MiB}
search: {max_batch_size: 64, init_val: 64}
lr_range: {num_training: 100, seeds: [0]}
"""


def applied(project: Project, model: str, module: Any) -> list[float]:
    """Return the rates of the optimizer's groups after `apply`, before any schedule."""
    data = zoo.Numbers()
    tuned = harness.load_profile(model, gpu="cpu-48MiB", lock=project.lock)
    harness.apply(tuned, module, data)
    module.num_samples = data.batch_size
    made = module.configure_optimizers()
    optimizer = made[0][0] if isinstance(made, tuple) else made
    return [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]


@pytest.mark.filterwarnings("ignore")
def test_the_optimizer_gets_the_measured_rates(project: Project) -> None:
    """Whatever is made of the attribute, its locked value makes the rates that were swept."""
    (project.path / "profiles" / "matrix.yaml").write_text(MATRIX, encoding="utf-8")
    copy_into(project.path / "profiles", "rate_zoo.py")
    project.run("--gpu-profile", "--gpu-profile-update").assert_outcomes(passed=3)
    cases = project.report()
    head, body, batch = (
        cases[f"{model}-cpu-48MiB-1"]["largest_learning_rate"]
        for model in ("head", "fixedbody", "perbatch")
    )
    rounded = 1e-3  # the lock holds 4 significant digits
    assert pytest.approx([head / 10, head], rel=rounded) == applied(
        project, "head", rate_zoo.Head()
    )
    assert pytest.approx([1e-7, body], rel=rounded) == applied(
        project, "fixedbody", rate_zoo.FixedBody()
    )
    assert pytest.approx([batch], rel=rounded) == applied(project, "perbatch", rate_zoo.PerBatch())
