"""The world's file and its reading from Python. No test here needs torch."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import harness.simulated
from harness.errors import HarnessError
from harness.simulated import faults, layout
from harness.simulated.faults import Fault
from harness.simulated.mark import WORLD, is_simulated
from harness.simulated.peaks import Peak
from harness.simulated.world import SimulatedGpu, World

GPU = SimulatedGpu("NVIDIA L4", 22558 << 20, (8, 9))
SOURCES = Path(harness.simulated.__file__).parent / "sources" / "world"


def test_layout_is_that_of_the_library(tmp_path: Path) -> None:
    """Python and C have the same sizes and places."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler `cc`")
    structures = {
        "Gpu": layout.RawGpu,
        "Process": layout.RawProcess,
        "Fault": layout.RawFault,
        "Peak": layout.RawPeak,
        "Event": layout.RawEvent,
        "World": layout.RawWorld,
    }
    lines = [f'printf("%zu\\n", sizeof({name}));' for name in structures]
    lines += [
        f'printf("%zu\\n", offsetof({name}, {field}));'
        for name, structure in structures.items()
        for field, *_ in structure._fields_
    ]
    source = tmp_path / "sizes.c"
    source.write_text(
        '#include "world.h"\n#include <stdio.h>\nint main(void) { ' + "".join(lines) + " }"
    )
    program = tmp_path / "sizes"
    subprocess.run([compiler, f"-I{SOURCES}", "-o", program, source], check=True, timeout=60)
    done = subprocess.run([program], check=True, capture_output=True, text=True, timeout=60)
    expected = [ctypes.sizeof(structure) for structure in structures.values()]
    expected += [
        getattr(structure, field).offset
        for structure in structures.values()
        for field, *_ in structure._fields_
    ]
    assert expected == [int(line) for line in done.stdout.splitlines()]


def test_kinds_of_faults_are_numbered_alike() -> None:
    """In the order of the library's enumeration."""
    text = (SOURCES / "world.h").read_text(encoding="utf-8")
    listed = re.findall(r"FAULT_(\w+)", text.partition("} FaultKind;")[0])
    assert list(faults.NUMBERS) == [name.lower() for name in listed]


def test_world_that_was_made_is_read_again(tmp_path: Path) -> None:
    """Another process opens it by its path."""
    World.create(tmp_path / "world", [GPU]).take(5)
    found = World(tmp_path / "world")
    assert [1, b"NVIDIA L4", 5] == [
        found.raw.num_gpus,
        found.raw.gpus[0].name,
        found.used_bytes(),
    ]


def test_instance_is_in_its_gpus_place(tmp_path: Path) -> None:
    """It has the GPU's PCI bus id, and its own UUID."""
    gpus = [SimulatedGpu("A", 1, (8, 0), mig=True), SimulatedGpu("B", 1, (8, 0), parent=0)]
    raw = World.create(tmp_path / "world", gpus).raw.gpus
    assert [b"00000000:10:00.0", 0, b"MIG-"] == [raw[1].bus_id, raw[1].parent, raw[1].uuid[:4]]


@pytest.mark.parametrize("data", [b"", b"x" * layout.SIZE])
def test_other_file_is_refused(tmp_path: Path, data: bytes) -> None:
    """With the remedy."""
    (tmp_path / "world").write_bytes(data)
    with pytest.raises(HarnessError, match="make it anew"):
        World(tmp_path / "world")


def test_more_gpus_than_fit_are_refused(tmp_path: Path) -> None:
    """With the number that is allowed."""
    with pytest.raises(HarnessError, match="at most 32 GPUs and instances, and 33 are given"):
        World.create(tmp_path / "world", 33 * [GPU])


def test_more_faults_than_fit_are_refused(tmp_path: Path) -> None:
    """With the number that is allowed."""
    world = World.create(tmp_path / "world", [GPU])
    for _ in range(layout.MAX_FAULTS):
        world.add(Fault("launch"))
    with pytest.raises(HarnessError, match="at most 64 faults"):
        world.add(Fault("launch"))


def test_name_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """NVML's names have less than 96 bytes."""
    with pytest.raises(HarnessError, match="less than 96 bytes"):
        World.create(tmp_path / "world", [SimulatedGpu(96 * "x", 1, (8, 0))])


def test_peaks_are_read_without_the_context(tmp_path: Path) -> None:
    """What a launcher or torch's allocator did not tell is None; a refused context leaves zeros."""
    world = World.create(tmp_path / "world", [GPU, GPU])
    context = GPU.context_bytes
    world.raw.peaks[0] = layout.RawPeak(7, 1, 3, 0, context + 50, 40, 2)
    world.raw.peaks[1] = layout.RawPeak(8, 0, -1, -1, 0, 0, 1)
    world.raw.peaks[2] = layout.RawPeak(9, 0, -1, -1, context + 50, 0, 0)
    world.raw.num_peaks = 3
    assert [
        Peak(7, 1, 3, 0, 50, 40, 2),
        Peak(8, 0, None, None, 0, 0, 1),
        Peak(9, 0, None, None, 50, None, 0),
    ] == world.peaks()


def test_processes_that_run_are_told_from_those_that_ended(tmp_path: Path) -> None:
    """Another process with the same id, and one without a context, do not count."""
    world = World.create(tmp_path / "world", [GPU])
    started = int(
        Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    )
    for place, (contexts, start) in enumerate([(1, started), (1, started - 1), (0, started)]):
        slot = world.raw.processes[place]
        slot.pid, slot.contexts, slot.started = os.getpid(), contexts, start
    assert [os.getpid()] == world.living()


def test_processes_beyond_the_last_entry_are_counted(tmp_path: Path) -> None:
    """The file has places for 1024."""
    world = World.create(tmp_path / "world", [GPU])
    world.raw.num_peaks = layout.MAX_PEAKS + 5
    assert [layout.MAX_PEAKS, layout.MAX_PEAKS + 5] == [len(world.peaks()), world.num_peaks]


@pytest.mark.parametrize(("variables", "expected"), [({}, False), ({WORLD: "/w"}, True)])
def test_process_in_a_world_is_recognized(variables: dict[str, str], expected: bool) -> None:
    """By its environment alone."""
    assert expected == is_simulated(variables)


def test_codes_after_which_a_context_is_lost_stay() -> None:
    """An illegal access does, missing memory and a library's own code do not."""
    given = [Fault("launch", 700), Fault("allocation", 2), Fault("cudnn", 719)]
    assert [True, False, False] == [fault.sticky for fault in given]
