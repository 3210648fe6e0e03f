"""Tells whether the GPUs of a process are simulated, and whether other ranks are absent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

WORLD = "GPU_PROFILE_SIMULATED_WORLD"
"""The variable that names the file of the world; it is set in every process that lives in one."""


LONE_RANK = "GPU_PROFILE_SIMULATED_LONE_RANK"
"""The variable that makes a process stand for all ranks of its training; the others are absent."""


def is_alone(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether a process with these variables stands for all ranks of its training."""
    return bool(environ.get(LONE_RANK))


def is_simulated(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether the GPUs of a process with these variables are simulated."""
    return bool(environ.get(WORLD))
