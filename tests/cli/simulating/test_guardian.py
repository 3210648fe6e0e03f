"""The end of a program whose command is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness.cli.simulating.guardian import guarded
from harness.simulated.world import SimulatedGpu, World

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = """
import os, sys
from pathlib import Path
from harness.cli.simulating.child import run_program
from harness.cli.simulating.guardian import guarded
from harness.simulated.world import World
folder = Path(sys.argv[1])
world = World(folder / "world")
variables = {"GPU_PROFILE_SIMULATED_WORLD": str(world.path)}
with guarded(folder, world):
    run_program("/bin/sh", ["sh", "-c", sys.argv[2]], os.environ | variables)
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Make a world in a folder of its own."""
    (tmp_path / "folder").mkdir()
    return World.create(tmp_path / "folder" / "world", [SimulatedGpu("any", 1 << 30, (8, 0))])


@pytest.mark.parametrize(
    "program", ["echo up; exec sleep 600", "trap '' TERM; echo up; read x < fifo"]
)
def test_program_and_folder_go_with_a_killed_command(world: World, program: str) -> None:
    """A program that does not end when it is asked to is killed."""
    folder = world.path.parent
    os.mkfifo(folder / "fifo")
    # Whoever holds the writing end has not ended: the command, the program and the guardian.
    alive, held = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(folder), f"cd {folder}; {program}"],
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=[held],
    ) as process:
        os.close(held)
        assert process.stdout is not None
        assert "up\n" == process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        assert b"" == os.read(alive, 1)
    os.close(alive)
    assert not folder.exists()


def test_folder_stays_with_a_command_that_ends(world: World) -> None:
    """It is the command's own to remove."""
    with guarded(world.path.parent, world):
        pass
    assert world.path.exists()
