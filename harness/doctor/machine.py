"""Checks the machine besides its GPUs: memory, compiler, and variables that change results."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harness.devices.cuda_environment import allocator_settings
from harness.devices.host_memory import SMALL_SHARED_BYTES, available_memory
from harness.doctor.findings import Finding, run_child
from harness.errors import HarnessError
from harness.simulated.requirements import compiler as find_compiler
from harness.simulated.requirements import torch_build
from harness.units import format_bytes
from harness.visible import cut

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.doctor.findings import Project

_SHARED_FOLDER = Path("/dev/shm")  # noqa: S108 - where Linux has it
_ENOUGH_HOST_BYTES = 2 << 30
_PROGRAM = '#include <stdio.h>\nint main(void) { return puts("") < 0; }\n'
VARIABLES = {
    "CUDA_VISIBLE_DEVICES": "runs see these GPUs alone",
    "CUDA_DEVICE_ORDER": "it says which GPU an index means",
    "CUDA_LAUNCH_BLOCKING": "training gets slower, and so do the speeds that are measured",
    "NVIDIA_TF32_OVERRIDE": "it changes speeds and losses",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "it changes speeds and losses",
    "PYTORCH_CUDA_ALLOC_CONF": "it is part of the recipe: other values make the lock stale",
    "PYTORCH_ALLOC_CONF": "it is part of the recipe: other values make the lock stale",
    "CUBLAS_WORKSPACE_CONFIG": "it is part of the recipe: other values make the lock stale",
    "LD_PRELOAD": "what it loads lies in the memory that the CPU's probes measure",
    "MALLOC_ARENA_MAX": "it changes the memory that the CPU's probes measure",
    "PYTHONMALLOC": "it changes the memory that the CPU's probes measure",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "pytest loads the plugin only with -p gpu_profile",
    "PYTEST_ADDOPTS": "pytest adds these flags to every run",
}
"""Variables that change what a probe measures, or which device it gets, and how."""


def compiler(_project: Project) -> Iterator[Finding]:
    """Check what simulated GPUs need: a C compiler that compiles, and torch's CUDA build."""
    try:
        command = find_compiler()
    except HarnessError as error:
        yield Finding("note", str(error))
    else:
        done = run_child([*command, "-fsyntax-only", "-x", "c", "-"], given=_PROGRAM)
        if done.returncode:
            first = next(iter(done.stderr.strip().splitlines()), "it says nothing")
            yield Finding(
                "note",
                f"simulated GPUs: {command[0]} compiles no program: {cut(first)}",
                "install the C library's headers (`apt-get install gcc libc6-dev`)",
            )
        else:
            yield Finding("ok", f"simulated GPUs: the C compiler {' '.join(command)} works")
    try:
        build = torch_build()
    except HarnessError as error:
        yield Finding("note", str(error))
    else:
        yield Finding("ok", f"simulated GPUs: torch {build.version} is a CUDA build")


def memory(_project: Project, root: Path = Path("/")) -> Iterator[Finding]:
    """Check the memory of the host or of its container, and the memory that processes share."""
    available, where = available_memory(root)
    if available is None:
        yield Finding("note", "the kernel does not tell how much memory is left")
    elif available < _ENOUGH_HOST_BYTES:
        yield Finding(
            "note",
            f"{where} has {format_bytes(available)} of memory left; Python and torch take about "
            "256 MiB in each of two processes, and 1 GiB on a GPU",
            "end other programs, or allow the container more (`docker run --memory`)",
        )
    else:
        yield Finding("ok", f"{where} has {format_bytes(available)} of memory left")
    with suppress(OSError):
        found = os.statvfs(_SHARED_FOLDER)
        total, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
        told = f"{_SHARED_FOLDER}: {format_bytes(free)} of {format_bytes(total)} free"
        if min(total, free) <= SMALL_SHARED_BYTES:
            yield Finding(
                "note",
                f"{told}; data-loader workers pass their batches through it",
                "make it larger (`docker run --shm-size 8g`), empty it, or set num_workers to 0",
            )
        else:
            yield Finding("ok", told)


def environment(_project: Project, variables: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Tell the variables that change results; those that forbid a run are wrong."""
    try:
        allocator_settings(variables)
    except HarnessError as error:
        yield Finding("wrong", str(error))
    chosen = {name: variables[name] for name in VARIABLES if variables.get(name)}
    for name, value in chosen.items():
        yield Finding(
            "note",
            f"{name}={cut(value)}: {VARIABLES[name]}",
            f"`unset {name}`, unless it is meant",
        )
    if not chosen:
        yield Finding("ok", "no variable is set that changes results")
