"""Tells whether the GPUs of a process are simulated."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

WORLD = "GPU_PROFILE_SIMULATED_WORLD"
"""The variable that names the file of the world; it is set in every process that lives in one."""


def is_simulated(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether the GPUs of a process with these variables are simulated."""
    return bool(environ.get(WORLD))
