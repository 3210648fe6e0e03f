"""A whole run of fine-tunings on the bounded CPU: adapters, a quantized base, checkpointing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from projects import copy_into

if TYPE_CHECKING:
    from projects import Project

MATRIX = """\
version: 1
matrix: {model: [adapters, checkpointed, four-bit], gpu: [cpu-24MiB], resolution: [16]}
models:
  adapters: {module: {class_path: finetuning_zoo.Tuned}}
  checkpointed:
    module: {class_path: finetuning_zoo.Tuned, init_args: {checkpointing: not reentrant}}
  four-bit:
    training:
      class_path: finetuning_zoo.TunedLoop
      init_args: {quantize: nf4, optimizer: AdamW8bit}
gpus:
  cpu-24MiB: {accelerator: cpu, budget: 24MiB}
lr_range: {when: never}
"""


def test_the_largest_batch_is_exact_and_checkpointing_raises_it(project: Project) -> None:
    """B fits and the next one does not, for each."""
    copy_into(project.path / "profiles", "finetuning_zoo.py")
    (project.path / "profiles" / "matrix.yaml").write_text(MATRIX, encoding="utf-8")
    assert pytest.ExitCode.OK == project.run("--gpu-profile", "--gpu-profile-update").ret
    cases = {case["axes"]["model"]: case for case in project.report().values()}
    for case in cases.values():
        seen = {probe["batch_size"]: probe["outcome"] for probe in case["probes"]}
        largest = case["max_batch_size"]
        assert ("fits", "oom") == (seen[largest], seen[largest + 1])
    assert cases["checkpointed"]["max_batch_size"] > cases["adapters"]["max_batch_size"]
