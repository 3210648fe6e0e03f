"""What a node tells of itself, as far as its own Ray process decides it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import harness

ASKS = "from harness.fleet.survey import variables_of_ray; print(variables_of_ray()['GIVEN'])"
STARTS = """
import os, subprocess, sys
ours = {**os.environ, "GIVEN": "to a worker"}
subprocess.run([sys.executable, "-c", sys.argv[1]], env=ours, check=True)
"""


def test_variables_are_those_of_the_parent() -> None:
    """What a worker was given for itself does not count."""
    done = subprocess.run(
        [sys.executable, "-c", STARTS, ASKS],
        env={
            **os.environ,
            "GIVEN": "to the node",
            "PYTHONPATH": str(Path(harness.__file__).parents[1]),
        },
        check=True,
        capture_output=True,
        text=True,
    )
    assert "to the node\n" == done.stdout
