"""A workload that counts its trainings, and halts in the one that the environment names.

Tests copy it into a project.
"""

from __future__ import annotations

from pathlib import Path

import zoo
from halting import halt

STARTED = "started.txt"


class Net(zoo.Net):
    """Adds a line to a file of the working directory whenever a training of it starts."""

    def on_train_start(self) -> None:
        """Count, and halt in the phase `training N`."""
        started = Path(STARTED)
        with started.open("a", encoding="ascii") as file:
            file.write("training\n")
        halt(f"training {len(started.read_text(encoding='ascii').splitlines())}")
