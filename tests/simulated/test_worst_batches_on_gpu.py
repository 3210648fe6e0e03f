"""The worst batches of a loader, in predictions on a simulated GPU."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from projects import copy_into
from simulated_runs import PYTEST

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.simulated

MATRIX = """
version: 1
matrix: {model: [first, worst], gpu: [t4-as-1GiB], resolution: [1]}
models:
  first:
    module: {class_path: texts_zoo.Reader}
    data: {class_path: texts_zoo.Texts, init_args: {longest: 4000}}
  worst:
    module: {class_path: texts_zoo.Reader}
    data: {class_path: texts_zoo.Texts, init_args: {longest: 4000}}
    search: {worst_batches: true}
gpus:
  t4-as-1GiB: {name: Tesla T4, budget: 1GiB}
lr_range: {when: never}
"""


def test_the_worst_batches_are_predicted(tmp_path: Path) -> None:
    """The prediction is below that of the first batches, and its peak is that of a long text."""
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    copy_into(profiles, "texts_zoo.py")
    (profiles / "matrix.yaml").write_text(MATRIX, encoding="utf-8")
    (profiles / "test_profiles.py").write_text(
        "from harness.testing import test_gpu_profile\n", encoding="utf-8"
    )
    done = subprocess.run(
        [*PYTEST, "--gpu-profile-predict", "--gpu-profile-update", "-o", "pythonpath=profiles"],
        cwd=tmp_path, check=False, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout + done.stderr
    report = json.loads((tmp_path / ".gpu-profile" / "report.json").read_text(encoding="utf-8"))
    first, worst = report["cases"]
    assert worst["max_batch_size"] < first["max_batch_size"]
    (note,) = [line for line in worst["warnings"] if "the worst of" in line]
    assert "the largest has 100% of the padded elements" in note
