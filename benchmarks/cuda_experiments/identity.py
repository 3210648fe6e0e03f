"""Experiments 1 and 2: the machine and its memory at rest, and the zygotes that fork cleanly."""

from __future__ import annotations

import os
import platform
import time
from typing import TYPE_CHECKING, Any

from cuda_experiments.models import main_workload
from cuda_experiments.processes import end, ended, start_child
from cuda_experiments.searching import facts_of
from cuda_experiments.setting import version_of

if TYPE_CHECKING:
    from cuda_experiments.setting import Note, Setting

_PACKAGES = (
    "torch",
    "lightning",
    "pytorch-lightning",
    "nvidia-ml-py",
    "transformers",
    "torchvision",
    "timm",
    "triton",
    "pytest",
)
FORKS = {
    "clean": {},
    "is_available, by NVML": {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"},
    "is_available, by CUDA": {"PYTORCH_NVML_BASED_CUDA_CHECK": "0"},
    "device_count": {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"},
    "backward on the CPU": {},
    "backward on the CPU without threads": {},
    "mem_get_info": {},
}
"""The action of the parent before it forks, and its environment."""
_STAGES_SECONDS, _FORK_SECONDS = 60.0, 60.0
_NUM_PROBES = 3


def identity(setting: Setting, note: Note) -> None:
    """Note the identity of the machine by NVML and torch, and the memory after each start."""
    note("python", platform.python_version())
    note("cores", len(os.sched_getaffinity(0)))
    note("packages", {name: version_of(name) for name in _PACKAGES})
    note("nvml", nvml_facts())
    note("device", facts_of_device(setting))
    note("stages", setting.child("stages", _STAGES_SECONDS))
    if not setting.cut_down:
        without = {"PYTORCH_NVML_BASED_CUDA_CHECK": "0"}
        note("stages, no NVML check", setting.child("stages", _STAGES_SECONDS, without))


def forking(setting: Setting, note: Note) -> None:
    """Fork after each action that a zygote's imports may take; then time zygote and probes.

    The forks measure no memory, so all of their processes start at once.
    """
    forks = setting.some(FORKS, "clean", "backward on the CPU")
    processes = {
        before: start_child("fork", setting.environment(variables), before=before)
        for before, variables in forks.items()
    }
    try:
        for before, process in processes.items():
            note(f"fork: {before}", ended(process, _FORK_SECONDS))
    finally:
        for process in processes.values():
            end(process)
    started = time.monotonic()
    with setting.runner("forking", main_workload(cut_down=setting.cut_down)) as runner:
        note("seconds to build a zygote", round(time.monotonic() - started, 2))
        runner.describe()
        for turn in range(1 if setting.cut_down else _NUM_PROBES):
            note(f"probe {turn + 1}", facts_of(runner.train(2, steps=3)))


def nvml_facts() -> dict[str, Any]:
    """Read the first GPU through NVML: memory in both versions, MIG, processes."""
    import pynvml  # noqa: PLC0415 - tests import this module without it

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    questions = {
        "name": lambda: pynvml.nvmlDeviceGetName(handle),
        "uuid": lambda: pynvml.nvmlDeviceGetUUID(handle),
        "driver": pynvml.nvmlSystemGetDriverVersion,
        "cuda": pynvml.nvmlSystemGetCudaDriverVersion,
        "count": pynvml.nvmlDeviceGetCount,
        "memory v1": lambda: _fields(pynvml.nvmlDeviceGetMemoryInfo(handle)),
        "memory v2": lambda: _fields(
            pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
        ),
        "mig": lambda: pynvml.nvmlDeviceGetMigMode(handle),
        "ecc": lambda: pynvml.nvmlDeviceGetEccMode(handle),
        "persistence": lambda: pynvml.nvmlDeviceGetPersistenceMode(handle),
        "compute mode": lambda: pynvml.nvmlDeviceGetComputeMode(handle),
        "processes": lambda: [
            _fields(one) for one in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
        ],
    }
    answers: dict[str, Any] = {"own process id": os.getpid()}
    for name, ask in questions.items():
        try:
            answers[name] = ask()
        except pynvml.NVMLError as error:
            answers[name] = f"NVML: {error}"
    pynvml.nvmlShutdown()
    return answers


def used_bytes() -> int:
    """Return the memory of the first GPU that all processes use, by NVML."""
    import pynvml  # noqa: PLC0415

    pynvml.nvmlInit()
    try:
        return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).used)
    finally:
        pynvml.nvmlShutdown()


def facts_of_device(setting: Setting) -> dict[str, Any]:
    """Return the device as gpu-profile sees it."""
    device = setting.device()
    return {
        "name": device.identity.name,
        "memory_bytes": device.identity.memory_bytes,
        "environment": dict(device.environment),
        "bound": device.bound,
        "versions": dict(device.versions),
    }


def _fields(structure: Any) -> dict[str, Any]:
    """Return the known fields of one of NVML's structures; versions of NVML lack some of them."""
    names = ("total", "free", "used", "reserved", "pid", "usedGpuMemory")
    return {name: getattr(structure, name) for name in names if hasattr(structure, name)}
