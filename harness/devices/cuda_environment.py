"""Reads and makes the environment variables of a training on a GPU.

Pure: needs neither torch nor NVML.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
"""Both configure torch's caching allocator; predictions read the first that is set."""

# Other variables that change how much of the GPU's memory a training takes.
_MEMORY_VARIABLES = ("CUBLAS_WORKSPACE_CONFIG",)
_NO_CACHING = "PYTORCH_NO_CUDA_MEMORY_CACHING"


def allocator_settings(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the variables that configure torch's caching allocator and cuBLAS's workspaces.

    Raises HarnessError when a setting turns the memory limit off, or when two contradict each
    other.
    """
    if environment.get(_NO_CACHING, "0") != "0":
        raise HarnessError(
            f"{_NO_CACHING} is set: without torch's caching allocator nothing bounds a probe's "
            "memory; unset it"
        )
    chosen = {name: environment[name] for name in VARIABLES if environment.get(name)}
    if len(set(chosen.values())) > 1:
        both = " and ".join(f"{name}={value}" for name, value in chosen.items())
        raise HarnessError(
            f"{both} are both set and differ, and torch's versions disagree on which counts: "
            "unset one"
        )
    return chosen | {name: environment[name] for name in _MEMORY_VARIABLES if environment.get(name)}


def showing(uuid: str) -> dict[str, str]:
    """Return the environment variables that show a process one GPU and no other."""
    return {
        "CUDA_VISIBLE_DEVICES": uuid,
        # torch asks NVML while it reports an OOM. Only in this order do both mean the same GPU by
        # an index.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        # With this, is_available() asks NVML and does not start CUDA in the zygote.
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        # A fork lacks the threads of its zygote. torch.set_num_threads would not do: autograd's
        # threads, one for each device that torch is built for, repeat that call all at once, which
        # sometimes ends the process.
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
