"""Whole runs with LR strategies: drawn ones, a function of the user's, and what it may do wrong."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

import pytest
from projects import make_files

from harness.cli.command_line import main

if TYPE_CHECKING:
    from projects import Project

RULES = """
def half(learning_rates, losses, share=0.5):
    first, low = losses[0], min(losses)
    return next(
        rate for rate, loss in zip(learning_rates, losses) if loss <= first - share * (first - low)
    )

def raises(learning_rates, losses):
    raise LookupError(f"{len(losses)} losses")
"""
MATRIX = """\
version: 1
matrix: {model: [half, raises], gpu: [cpu-48MiB], resolution: [1]}
models:
  half:
    module: {class_path: zoo.Net, init_args: {width: 32}}
    data: {class_path: zoo.Numbers}
    lr_range: {strategy: [{class_path: rules.half, init_args: {share: 0.4}}, valley, slide, drop]}
  raises:
    module: {class_path: zoo.Net, init_args: {width: 32}}
    data: {class_path: zoo.Numbers}
    lr_range: {strategy: {class_path: rules.raises}}
gpus:
  cpu-48MiB: {accelerator: cpu, budget: 48MiB}
search: {max_batch_size: 16, init_val: 16, validation: false}
lr_range: {num_training: 60, lr_min: 1.0e-4, stages: 1}
"""


def test_function_of_the_user_decides_or_is_the_refusal(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first strategy's rate is locked, and all are drawn; what it raises is named."""
    make_files(project.path / "profiles", {"matrix.yaml": MATRIX, "rules.py": RULES})
    project.run("--gpu-profile", "--gpu-profile-update").assert_outcomes(passed=2, deselected=1)

    decided, refused = tomllib.loads(project.lock.read_text(encoding="utf-8"))["profile"]
    assert {
        "lr_range.num_training": 60,
        "lr_range.stages": 1,
        "lr_range.strategy.class_path": "rules.half",
        "lr_range.strategy.init_args.share": 0.4,
    }.items() <= decided["settings"].items()
    assert "learning_rate_range" not in decided
    folder = project.results / "half-cpu-48MiB-1"
    content = json.loads((folder / "lr_range.json").read_text(encoding="utf-8"))
    assert ["rules.half", "valley", "slide", "drop"] == list(content["suggestions"])
    assert decided["learning_rate"] == pytest.approx(content["suggestions"]["rules.half"], rel=1e-3)
    assert (folder / "lr_range.png").read_bytes().startswith(b"\x89PNG")
    assert (1, 0) == tuple(
        len(list(folder.glob(f"*-lr-{kind}-*.log"))) for kind in ("sweep", "trial")
    )

    assert "learning_rate" not in refused
    assert refused["lr_refusal"].startswith(
        "strategy rules.raises reads no learning rate off the sweep with seed 0: "
        "LookupError: 60 losses (its output is in "
    )
    assert 16 == refused["max_batch_size"]

    capsys.readouterr()
    assert 0 == main(["show", "half-cpu-48MiB-1", "--field", "learning_rate"])
    assert str(decided["learning_rate"]) == capsys.readouterr().out.strip()
