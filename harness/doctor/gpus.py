"""Checks NVML, the driver, the GPUs of this machine, and which labels of the matrix they match."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from harness.devices import host_memory
from harness.devices.cuda import CudaDevice, users_in_words
from harness.devices.device import NoSuchDeviceError
from harness.devices.finding import find_device
from harness.devices.nvml import gpus as nvml
from harness.devices.nvml.health import HealthWatch
from harness.devices.nvml.unsupported_machines import is_no_fault
from harness.doctor.findings import Finding
from harness.errors import HarnessError, MachineError
from harness.matrix.settings import SearchSettings
from harness.simulated.mark import is_simulated
from harness.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.devices.nvml.gpu import Gpu
    from harness.doctor.findings import Project
    from harness.matrix.case import Case

_RESET = "reset it (`nvidia-smi --gpu-reset`) or reboot; see `nvidia-smi -q`"
# What the driver and a desktop hold is no training.
_SMALL_SHARE = 0.02


def driver(_project: Project) -> Iterator[Finding]:
    """Check NVML, the driver, and each GPU: its memory, its health, what others hold of it."""
    if is_simulated():
        yield Finding("note", "the GPUs of this process are simulated ones")
    try:
        gpus = nvml.visible_gpus()
    except HarnessError as error:
        yield Finding("note" if is_no_fault(str(error)) else "wrong", str(error))
        return
    if not gpus:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        if hidden is None:
            yield Finding("note", "the driver sees no GPU", "profile on the CPU with a budget")
        else:
            yield Finding(
                "note",
                f"CUDA_VISIBLE_DEVICES={hidden} hides every GPU",
                "`unset CUDA_VISIBLE_DEVICES`, or name a GPU of `nvidia-smi -L`",
            )
        return
    newest = nvml.newest_cuda()
    cuda = f", CUDA up to {newest[0]}.{newest[1]}" if newest else ""
    yield Finding("ok", f"NVIDIA's driver {gpus[0].driver}{cuda}")
    for gpu in gpus:
        try:
            yield from _gpu(gpu)
        except HarnessError as error:
            yield Finding("wrong", str(error))


def labels(project: Project) -> Iterator[Finding]:
    """Tell for each GPU label of the matrix whether this machine can measure its cases."""
    by_label: dict[str, list[Case]] = {}
    for case in project.cases:
        by_label.setdefault(case.gpu, []).append(case)
    for label, cases in by_label.items():
        many = f"{len(cases)} case{'s' if len(cases) > 1 else ''}"
        # Labels may be overridden case by case; the first stands for the others.
        first = cases[0]
        try:
            device = find_device(
                first.device, first.search.target_memory_fraction, count=first.num_ranks
            )
            host_memory.check_memory(device)
        except NoSuchDeviceError as error:
            yield Finding(
                "note",
                f"{label} ({many}) {error}",
                f"measure it on its own machine, or try `gpu-profile predict {first.id}`",
            )
        except MachineError as error:
            yield Finding("wrong", f"{label} ({many}): {error}")
        else:
            size = format_bytes(device.identity.memory_bytes)
            yield Finding("ok", f"{label} ({many}): {device.identity.name}, {size}")


def _gpu(gpu: Gpu) -> Iterator[Finding]:
    now = nvml.memory(gpu.uuid)
    name = f"{gpu.name} ({gpu.uuid})"
    kind = ", an instance of a GPU in MIG mode" if gpu.mig else ""
    free = f"{format_bytes(now.free_bytes)} of {format_bytes(now.total_bytes)} free"
    yield Finding("ok", f"{name}: {free}{kind}")
    if nvml.is_persistent(gpu.uuid) is False:
        yield Finding(
            "note",
            f"{name}: persistence mode is off: each first use of the idle GPU takes seconds",
            "`sudo nvidia-smi -pm 1`",
        )
    with HealthWatch(gpu.uuid) as watch:
        trouble, slowed = watch.standing(), watch.slowed_now()
    if trouble:
        yield Finding("wrong", f"{name}: {'; '.join(trouble)}", _RESET)
    if slowed:
        yield Finding(
            "note",
            f"{name} is slowed down now ({', '.join(slowed)}): its speeds would be too low",
            "see its cooling and its power in `nvidia-smi -q -d PERFORMANCE`",
        )
    yield from _others(gpu, name)


def _others(gpu: Gpu, name: str) -> Iterator[Finding]:
    """Tell what other processes hold: a run waits for their end."""
    now = nvml.memory(gpu.uuid)
    wanted = CudaDevice([gpu], None, SearchSettings().target_memory_fraction).wanted_bytes(now)
    if now.free_bytes < wanted:
        yield Finding(
            "wrong",
            f"{name} is busy: {format_bytes(now.free_bytes)} are free, and a probe may use "
            f"{format_bytes(wanted)}; {users_in_words(gpu.uuid)}",
            "end what runs there, or let a run wait: `pytest --gpu-profile --gpu-profile-wait 600`",
        )
    elif now.used_bytes > _SMALL_SHARE * now.total_bytes:
        yield Finding(
            "note",
            f"{name}: others hold {format_bytes(now.used_bytes)} of its memory, and leave enough; "
            f"{users_in_words(gpu.uuid)}",
            "end them before you measure speeds",
        )
