"""Tells a user's files from those of the libraries that run them, and shows their names."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

HARNESS = str(Path(__file__).resolve().parents[1]) + os.sep
STANDARD = tuple(
    {sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")}
    | {str(Path(os.__file__).parent) + os.sep}
)
TORCH = ("torch", "functorch", "triton")
# Libraries that run a user's training. Where no code of the user's is on the stack, a line of
# another library, such as a network's, says more than theirs.
LOOPS = (
    "lightning",
    "lightning_utilities",
    "pytorch_lightning",
    "lightning_fabric",
    "torchmetrics",
    "accelerate",
)
TRAINER = f"{os.sep}transformers{os.sep}trainer"
"""Begins the names of the files of transformers' Trainer, which runs a training, too."""
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def package_of(path: str) -> str | None:
    """Return the installed package that a file belongs to; None for other files."""
    for folder in _INSTALLED:
        _, found, rest = path.rpartition(folder)
        if found:
            return rest.partition(os.sep)[0].removesuffix(".py")
    return None


def shown(path: str) -> str:
    """Return a file as people name it: below its package's folder or the working directory."""
    for folder in _INSTALLED:
        _, found, rest = path.rpartition(folder)
        if found:
            return rest
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else relative
