"""Names the GPUs that a rank sees by their numbers, for libraries that read nothing else.

Pytest's process shows GPUs by their UUIDs. DeepSpeed reads CUDA_VISIBLE_DEVICES as whole numbers.
"""

from __future__ import annotations

import os
from contextlib import suppress

_VARIABLE = "CUDA_VISIBLE_DEVICES"


def show_by_number() -> None:
    """Name the same GPUs in the environment by NVML's numbers, once CUDA has started.

    CUDA has read the variable by then. Where torch cannot tell the numbers, as of MIG instances,
    the variable stays.
    """
    import torch  # noqa: PLC0415 - pytest's process imports this package, never torch

    shown = os.environ.get(_VARIABLE, "").split(",")
    with suppress(AttributeError, RuntimeError, ValueError, IndexError):
        numbers = [
            torch.cuda._get_nvml_device_index(index)  # noqa: SLF001 - it has no public name
            for index in range(len(shown))
        ]
        if len(set(numbers)) == len(shown):
            os.environ[_VARIABLE] = ",".join(map(str, numbers))
