"""Builds a workload, and notes the torch settings and threads that this changes in the process."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.zygote.lone_rank import stand_for_all
from harness.zygote.threads import ThreadWatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.protocol.case import WorkloadSpec
    from harness.workload.build import Workload


@dataclass(frozen=True)
class Built:
    """A workload, and the changes that building it made to the process."""

    workload: Workload | None
    """None for a command, which its probes start."""
    torch_settings: dict[str, Any]
    """Global settings of torch that were changed."""
    threads: ThreadWatch
    """The threads that were started."""
    command: Sequence[str] | None = None
    """The words of a program that trains in place of the workload."""


def build(spec: WorkloadSpec) -> Built:
    """Build the workload. Exceptions of the user's constructors pass through."""
    if (command := spec.get("command")) is not None:
        with ThreadWatch() as threads:
            return Built(None, {}, threads, command)
    stand_for_all()
    # Optimizers import it at their first step. Imported here, it need not be in every probe.
    from torch import _dynamo  # noqa: PLC0415 - not before the environment is in place

    from harness.probe_tasks import describe, lr_sweep, train, trainer  # noqa: PLC0415
    from harness.workload import build as workload_build  # noqa: PLC0415

    assert None not in (_dynamo, describe, lr_sweep, train)  # imported for the probes
    trainer.seed_everything()
    settings = _torch_settings()
    with ThreadWatch() as threads:
        workload = workload_build.build(spec)
    changed = {name: value for name, value in _torch_settings().items() if value != settings[name]}
    return Built(workload, changed, threads)


def _torch_settings() -> dict[str, Any]:
    """Return torch's global settings that affect the memory of a training."""
    import torch  # noqa: PLC0415

    return {
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "cudnn.deterministic": torch.backends.cudnn.deterministic,
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "default_dtype": str(torch.get_default_dtype()),
    }


def versions(workload: Workload | None) -> dict[str, str]:
    """Return the versions of torch, its CUDA and Lightning; none of a command's, yet."""
    if workload is None:
        return {}
    import torch  # noqa: PLC0415

    found = {"torch": torch.__version__.partition("+")[0]}
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    found["lightning"] = str(sys.modules[workload.lightning.__name__.partition(".")[0]].__version__)
    return found
