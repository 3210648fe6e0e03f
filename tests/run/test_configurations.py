"""A whole run of configurations that LightningCLI and Hydra read: measured, locked, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from projects import copy_into, make_files

from harness.cli.command_line import main
from harness.train_time.load_profile import load_profile

if TYPE_CHECKING:
    from projects import Project

MATRIX = """\
version: 1
matrix:
  model: [cli, hydra]
  gpu: [cpu-48MiB]
  resolution: [12]
models:
  cli:
    module:
      class_path: harness.configurations.lightning_cli
      init_args:
        config: configs/cli.yaml
        cli: cli_zoo.main
        overrides: ["data.num_features=${resolution}"]
  hydra:
    module:
      class_path: harness.configurations.hydra_instantiate
      init_args: {config_path: configs, config_name: hydra, key: model}
    data:
      class_path: harness.configurations.hydra_instantiate
      init_args: {config_path: configs, config_name: hydra, key: data}
gpus:
  cpu-48MiB: {accelerator: cpu, budget: 48MiB}
lr_range: {when: never}
"""
CLI = """\
seed_everything: 7
model: {width: 20000}
optimizer: {class_path: torch.optim.Adam, init_args: {lr: 0.25}}
trainer: {accumulate_grad_batches: 2, devices: 2}
"""
HYDRA = """\
defaults: [_self_, {model: wide}]
data: {_target_: cli_zoo.Data, num_features: 12}
"""
WIDE = "_target_: cli_zoo.Net\nwidth: 20000\nnum_features: ${data.num_features}\n"


def test_configurations_are_measured_and_judged_as_they_are(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """Adam takes more than SGD; the devices are named; another value is another workload."""
    copy_into(project.path / "profiles", "cli_zoo.py")
    files = {"cli.yaml": CLI, "hydra.yaml": HYDRA, "model/wide.yaml": WIDE}
    make_files(project.path / "configs", files)
    (project.path / "profiles" / "matrix.yaml").write_text(MATRIX, encoding="utf-8")
    result = project.run("--gpu-profile", "--gpu-profile-update")
    assert pytest.ExitCode.OK == result.ret
    cases = project.report()
    assert ["memory", "memory"] == [case["bounded_by"] for case in cases.values()]
    for case in cases.values():
        ends = {probe["batch_size"]: probe["outcome"] for probe in case["probes"]}
        best = case["max_batch_size"]
        assert ("fits", "oom") == (ends[best], ends[best + 1])
    adam, sgd = (load_profile(one, gpu="cpu-48MiB", lock=project.lock) for one in ("cli", "hydra"))
    assert adam.max_batch_size < sgd.max_batch_size
    [note] = [note for note in cases["cli-cpu-48MiB-12"]["warnings"] if "configs/cli.yaml" in note]
    assert "has devices: 2, and a case has the devices of the matrix" in note
    capsys.readouterr()

    (project.path / "configs" / "cli.yaml").write_text(CLI.replace("Adam,", "SGD,"))
    (project.path / "configs" / "hydra.yaml").write_text(HYDRA + "seed: 3\n")
    assert 1 == main(["check"])
    stated = capsys.readouterr().out
    assert "configuration.optimizer.class_path torch.optim.Adam -> torch.optim.SGD" in stated
    assert "ok        hydra-cpu-48MiB-12" in stated
