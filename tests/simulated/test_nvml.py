"""NVML over a world, as the harness reads it. No process of these tests has CUDA."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from simulated_worlds import GIB, H100_NVML, MIB, MIG, h100

from harness.simulated.environment import watching
from harness.simulated.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from torch_server import TorchServer

    from harness.simulated.world import SimulatedGpu

pytestmark = pytest.mark.simulated

PREAMBLE = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from harness.devices.nvml import gpus as nvml
from harness.devices.nvml.health import HealthWatch
from harness.errors import HarnessError
from harness.simulated.world import World
world = World(Path(sys.argv[1]))
def tell(value):
    print(json.dumps(value, default=asdict))
"""


def told(folder: Path, script: str, *gpus: SimulatedGpu) -> list[Any]:
    """Run a script without CUDA in a world; return what it told."""
    world = World.create(folder / "world", gpus or (h100(),))
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + script, str(world.path)],
        env=os.environ | watching(world),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_identity_is_the_worlds(tmp_path: Path, torch_server: TorchServer) -> None:
    """Name, NVML's total, UUID, driver and place."""
    (gpus,) = told(tmp_path, "tell(nvml.visible_gpus())")
    expected = {
        "name": "NVIDIA H100 80GB HBM3",
        "memory_bytes": H100_NVML,
        "uuid": "GPU-51000000-0000-4000-8000-000000000000",
        "driver": "580.95.05",
        "pci_bus_id": "00000000:10:00.0",
        "mig": False,
        "parent_uuid": None,
        "instance": None,
    }
    assert [expected] == gpus


def test_memory_is_what_others_leave(tmp_path: Path, torch_server: TorchServer) -> None:
    """A change of the world shows at once."""
    numbers = told(
        tmp_path,
        "uuid = nvml.visible_gpus()[0].uuid; world.take(3 << 30); now = nvml.memory(uuid)\n"
        "tell([now.total_bytes, now.used_bytes, now.free_bytes, now.reserved_bytes])",
    )
    assert [[H100_NVML, 3 * GIB, H100_NVML - 551 * MIB - 3 * GIB, 551 * MIB]] == numbers


def test_instances_have_their_gpu_and_ids(tmp_path: Path, torch_server: TorchServer) -> None:
    """The instances of a GPU in MIG mode stand in its place."""
    found = told(
        tmp_path,
        "tell([[g.name, g.memory_bytes >> 30, g.parent_uuid, g.instance] for g in nvml.visible_gpus()])",
        *MIG,
    )
    parent = "GPU-51000000-0000-4000-8000-000000000000"
    assert [
        [
            ["NVIDIA H100 MIG 1g.10gb", 10, parent, [7, 0]],
            ["NVIDIA H100 MIG 2g.20gb", 20, parent, [3, 0]],
        ]
    ] == found


def test_watch_hears_of_an_xid(tmp_path: Path, torch_server: TorchServer) -> None:
    """Those since the watch began, once."""
    heard = told(
        tmp_path,
        "world.raise_xid(79)\n"
        "with HealthWatch(nvml.visible_gpus()[0].uuid) as watch:\n"
        "    tell(watch.trouble()); world.raise_xid(48); tell(watch.trouble()); tell(watch.trouble()); tell(watch.xids())",
    )
    assert [[], ["Xid 48 (double bit ECC error)"], [], [48]] == heard


def test_watch_counts_errors_of_the_memory(tmp_path: Path, torch_server: TorchServer) -> None:
    """An uncorrected error shows as an event and in the count."""
    heard = told(
        tmp_path,
        "with HealthWatch(nvml.visible_gpus()[0].uuid) as watch:\n"
        "    world.raise_ecc_error(); tell(watch.trouble())",
    )
    assert [["double bit ECC error", "1 uncorrected ECC errors"]] == heard


def test_instance_hears_of_its_own_events(tmp_path: Path, torch_server: TorchServer) -> None:
    """Another instance's Xid is not its trouble."""
    heard = told(
        tmp_path,
        "with HealthWatch(nvml.visible_gpus()[1].uuid) as watch:\n"
        "    world.raise_xid(31, gpu=1); tell(watch.xids()); world.raise_xid(31, gpu=2); tell(watch.xids())",
        *MIG,
    )
    assert [[], [31]] == heard


def test_slowdown_is_told(tmp_path: Path, torch_server: TorchServer) -> None:
    """In seconds by NVML's policy."""
    heard = told(
        tmp_path,
        "with HealthWatch(nvml.visible_gpus()[0].uuid) as watch:\n"
        "    world.raw.gpus[0].slow_nanoseconds[1] = 3_200_000_000; tell(watch.throttled())",
    )
    assert ["thermal slowdown for 3.2 s"] == heard


def test_lost_gpu_is_trouble_with_the_machine(tmp_path: Path, torch_server: TorchServer) -> None:
    """Every question about it is answered with that."""
    (text,) = told(
        tmp_path,
        "uuid = nvml.visible_gpus()[0].uuid; world.lose()\n"
        "try: nvml.memory(uuid)\n"
        "except HarnessError as error: tell(f'{type(error).__name__}: {error}')",
    )
    assert "MachineError" in text
    assert "GPU is lost" in text
