"""Builds workloads from the configurations that users' own training scripts read, and their phases.

Runs in the zygote and its probes: a matrix names these functions as `class_path`. LightningCLI and
Hydra themselves read the files. May import `harness.workload`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness._lazy import lazy

if TYPE_CHECKING:
    from harness.configurations.from_hydra import hydra_compose as hydra_compose
    from harness.configurations.from_hydra import hydra_instantiate as hydra_instantiate
    from harness.configurations.from_lightning_cli import lightning_cli as lightning_cli
    from harness.configurations.phases import begin_at_epoch as begin_at_epoch

__all__ = ["begin_at_epoch", "hydra_compose", "hydra_instantiate", "lightning_cli"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "begin_at_epoch": "harness.configurations.phases",
        "hydra_compose": "harness.configurations.from_hydra",
        "hydra_instantiate": "harness.configurations.from_hydra",
        "lightning_cli": "harness.configurations.from_lightning_cli",
    },
)
