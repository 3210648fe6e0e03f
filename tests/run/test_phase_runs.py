"""Phases of one training are cases of their own, and a script reads each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from projects import copy_into

import harness

if TYPE_CHECKING:
    from projects import Project

MATRIX = """\
version: 1
matrix:
  model: [own, callback]
  gpu: [cpu-64MiB]
  resolution: [16]
  phase: [frozen, unfrozen]
  include:
    - {phase: frozen, epoch: 0}
    - {phase: unfrozen, epoch: 5}
models:
  own:
    module: {class_path: phases_zoo.Tuned, init_args: {phase: "${phase}"}}
  callback:
    module: {class_path: phases_zoo.Tuned}
    trainer:
      callbacks:
        - class_path: lightning.pytorch.callbacks.BackboneFinetuning
          init_args: {unfreeze_backbone_at_epoch: 5}
        - class_path: harness.configurations.begin_at_epoch
          init_args: {epoch: "${epoch}"}
gpus:
  cpu-64MiB: {accelerator: cpu, budget: 64MiB}
lr_range: {when: never}
"""


@pytest.mark.usefixtures("runs_share_a_zygote")
def test_each_phase_has_a_batch_size_of_its_own(project: Project) -> None:
    """Set by an argument of the module, or by a finetuning callback in a later epoch."""
    copy_into(project.path / "profiles", "phases_zoo.py")
    (project.path / "profiles" / "matrix.yaml").write_text(MATRIX, encoding="utf-8")
    result = project.run("--gpu-profile", "--gpu-profile-update")
    assert pytest.ExitCode.OK == result.ret
    cases = project.report()
    for case in cases.values():
        ends = {probe["batch_size"]: probe["outcome"] for probe in case["probes"]}
        best = case["max_batch_size"]
        assert ("fits", "oom") == (ends[best], ends[best + 1])
    sizes = {
        (model, phase): harness.load_profile(
            model, gpu="cpu-64MiB", phase=phase, lock=project.lock
        ).max_batch_size
        for model in ("own", "callback")
        for phase in ("frozen", "unfrozen")
    }
    assert sizes["own", "frozen"] > 2 * sizes["own", "unfrozen"]
    assert sizes["callback", "frozen"] > 2 * sizes["callback", "unfrozen"]
    warned = [case for case, one in cases.items() if "may thaw them later" in str(one["warnings"])]
    assert ["callback-cpu-64MiB-16-frozen-0"] == warned
