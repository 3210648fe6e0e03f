"""Building a workload in a process of its own: what it changes of the process, and what it is made with."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.workload import Workload


def build(spec: Mapping[str, Any]) -> tuple[Workload, dict[str, Any], str | None]:
    """Build the workload.

    Also return what its modules changed of torch's global settings, and the threads that they started, in words.
    """
    # Optimizers import it at their first step: here once, instead of in every probe.
    from torch import _dynamo  # noqa: PLC0415 - not before the environment and the module path are in place

    from harness import sweep, trainer, workload  # noqa: PLC0415

    trainer.seed_everything(0)
    assert None not in (_dynamo, sweep)  # imported for the probes
    settings, threads = _torch_settings(), _num_threads()
    built = workload.build(spec)
    changed = {name: value for name, value in _torch_settings().items() if value != settings[name]}
    return built, changed, _new_threads(_num_threads() - threads)


def _num_threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def _new_threads(number: int) -> str | None:
    """Say which threads there are: a fork has none of them, but the locks that they held for ever."""
    if number <= 0:
        return None
    names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    return f"starts {number} thread{'s' if number > 1 else ''}" + (f" ({', '.join(names)})" if names else "")


def _torch_settings() -> dict[str, Any]:
    """Return torch's global settings that change what training takes of memory."""
    import torch  # noqa: PLC0415

    return {
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "cudnn.deterministic": torch.backends.cudnn.deterministic,
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "default_dtype": str(torch.get_default_dtype()),
    }


def versions(workload: Workload) -> dict[str, str]:
    """Return the versions of torch, its CUDA and Lightning."""
    import torch  # noqa: PLC0415

    found = {"torch": torch.__version__.partition("+")[0]}
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    found["lightning"] = str(sys.modules[workload.lightning.__name__.partition(".")[0]].__version__)
    return found
