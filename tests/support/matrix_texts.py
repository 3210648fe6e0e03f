"""Makes the matrices that tests load, damage and enlarge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.matrix.cases import load_matrix
from harness.matrix.mistakes import MatrixError

if TYPE_CHECKING:
    from pathlib import Path

    from harness.matrix.case import Case

EXAMPLE = """\
version: 1
matrix:
  model: [resnet18, vit_tiny]
  gpu: [h200, cpu-512MiB]
  resolution: [32, 64]
  exclude:
    - {model: vit_tiny, gpu: cpu-512MiB, resolution: 64}
models:
  resnet18:
    module:
      class_path: profiles.workloads.ImageClassifier
      init_args: {arch: resnet, resolution: "${resolution}"}
    data: {class_path: profiles.workloads.Digits, init_args: {resolution: "${resolution}"}}
  vit_tiny:
    module:
      class_path: profiles.workloads.ImageClassifier
      init_args: {arch: vit, resolution: "${resolution}"}
    data: {class_path: profiles.workloads.Digits, init_args: {resolution: "${resolution}"}}
gpus:
  h200: {name: NVIDIA H200}                       # memory: 141GB also matches, within 3%
  h200-as-24GiB: {name: NVIDIA H200, budget: 24GiB}   # emulated
  cpu-512MiB: {accelerator: cpu, budget: 512MiB}
trainer: {precision: 32-true}    # any keyword of the Trainer but those that a probe sets
search: {mode: exact, min_batch_size: 1, max_batch_size: 65536, steps_per_trial: 3,
         target_memory_fraction: 0.9, safety_factor: 1.0, round_to: 1, validation: true}
lr_range: {lr_min: 1.0e-6, lr_max: 10.0, num_training: 200, horizon: 30, seeds: [0, 1, 2],
           when: always}
bounds:
  batch_size: {max_drop: 2%}        # judges max_batch_size; never tighter than measured noise
  learning_rate: {max_factor: null}    # the locked range
"""

RIGHT = """\
version: 1
matrix:
  model: [net]
  gpu: [cpu]
  resolution: [32, 64]
models:
  net:
    module: {class_path: torch.nn.Linear}
gpus:
  cpu: {accelerator: cpu, budget: 512MiB}
  h200: {name: NVIDIA H200}
"""


def load(tmp_path: Path, text: str) -> tuple[Case, ...]:
    """Return the cases of a matrix with this text."""
    path = tmp_path / "matrix.yaml"
    path.write_text(text, encoding="utf-8")
    return load_matrix(path)


def mistakes_in(tmp_path: Path, text: str) -> list[str]:
    """Return the mistakes as `LINE: message`."""
    path = tmp_path / "matrix.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MatrixError) as caught:
        load_matrix(path)
    return [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]


def changed(old: str, new: str) -> str:
    """Return the right matrix with one passage replaced."""
    assert old in RIGHT
    return RIGHT.replace(old, new)


def large_matrix(models: int, gpus: int, resolutions: int) -> str:
    """Return a matrix with these numbers of values on its axes; each case has its own settings."""
    lines = ["version: 1", "matrix:"]
    lines.append(f"  model: [{', '.join(f'm{n}' for n in range(models))}]")
    lines.append(f"  gpu: [{', '.join(f'g{n}' for n in range(gpus))}]")
    lines.append(f"  resolution: [{', '.join(str(n) for n in range(1, resolutions + 1))}]")
    lines.append("models:")
    for n in range(models):
        module = '{class_path: torch.nn.Linear, init_args: {size: "${resolution}", on: "${gpu}"}}'
        lines.append(f'  m{n}: {{module: {module}, search: {{round_to: "${{resolution}}"}}}}')
    lines.append("gpus:")
    lines += [f"  g{n}: {{name: NVIDIA {n}}}" for n in range(gpus)]
    return "\n".join(lines)
