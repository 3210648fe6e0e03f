"""Memory that RLIMIT_DATA does not stop: shared mappings, a limit that is lifted, mapped files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from harness.devices.cpu import CpuDevice
from harness.memory_bounds import HostBound

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
# Each attack runs in a fork, under a limit of 64 MiB.
IN_PROBES = """
import json, mmap, os, resource, sys
import numpy as np
import torch
from harness.memory_bounds import make_bound

def shared(size):
    kept = mmap.mmap(-1, size)
    np.frombuffer(kept, dtype=np.uint8)[:] = 1
    return kept

def untouched(size):
    return mmap.mmap(-1, size)

def tensor(size):
    return torch.ones(size, dtype=torch.uint8).share_memory_()

def lifted(size):
    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY,) * 2)
    return torch.ones(size, dtype=torch.uint8)

def file(size):
    kept = np.memmap(sys.argv[1], dtype=np.uint8, mode="r")
    return kept, int(kept[::4096].sum())

def within(size):
    return torch.ones(size // 8, dtype=torch.uint8).share_memory_()

for attack in (shared, untouched, tensor, lifted, file, within):
    sys.stdout.flush()
    if os.fork():
        os.wait()
        continue
    bound = make_bound({"accelerator": "cpu", "budget_bytes": 64 << 20})
    bound.start()
    bound.engage(torch.nn.Linear(16, 16))
    kept = attack(200 << 20 if attack is not tensor else 40 << 20)
    bound.peak_bytes()
    more = torch.ones(30 << 20, dtype=torch.uint8) if attack is tensor else None
    print(json.dumps([attack.__name__, bound.excess(), bound.peak_bytes()]))
    sys.stdout.flush()
    os._exit(0)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str | None, int]]:
    """Run the attacks; return the excess and the peak of each."""
    file: Path = tmp_path_factory.mktemp("mapped") / "data"
    with file.open("wb") as stream:
        stream.truncate(200 * MIB)
    done = subprocess.run(
        [sys.executable, "-c", IN_PROBES, str(file)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | dict(CpuDevice.environment),
    )
    lines: list[list[Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: (excess, peak) for name, excess, peak in lines}


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        ("shared", "200.0 MiB of it are shared memory, which counts like any other"),
        ("tensor", "40.0 MiB of it are shared memory"),
        ("lifted", "the training changes RLIMIT_DATA, the limit of its process"),
    ],
)
def test_what_the_limit_did_not_stop_is_an_excess(
    told: dict[str, tuple[str | None, int]], attack: str, words: str
) -> None:
    """Shared memory counts beside private memory; a limit that was lifted is seen."""
    excess, peak = told[attack]
    assert excess is not None
    assert words in excess
    assert peak > 64 * MIB


@pytest.mark.parametrize("harmless", ["file", "untouched", "within"])
def test_files_and_small_shares_are_no_excess(
    told: dict[str, tuple[str | None, int]], harmless: str
) -> None:
    """A file that is read is the system's cache; pages that nobody touched take nothing."""
    assert told[harmless][0] is None


@pytest.mark.parametrize("harmless", ["file", "untouched"])
def test_peak_leaves_out_what_is_no_memory_of_the_case(
    told: dict[str, tuple[str | None, int]], harmless: str
) -> None:
    """A mapping of 200 MiB that takes no memory does not raise the peak above the limit."""
    assert told[harmless][1] <= 64 * MIB


def test_bound_that_never_engaged_has_no_excess() -> None:
    """Without a fit there is nothing to exceed."""
    assert HostBound(64 * MIB).excess() is None
