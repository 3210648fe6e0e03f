"""Experiments 1 and 2: the machine and its memory at rest, and the zygotes that fork cleanly."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from cuda_experiments.models import main_workload

if TYPE_CHECKING:
    from cuda_experiments.setting import Facts, Setting

_PACKAGES = (
    "torch",
    "lightning",
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


def identity(setting: Setting) -> Facts:
    """Yield the identity of the machine by NVML and torch, and the memory after each start."""
    yield "python", platform.python_version()
    yield "cores", len(os.sched_getaffinity(0))
    yield "packages", {name: _version(name) for name in _PACKAGES}
    if setting.cuda:
        yield "nvml", nvml_facts()
    yield "device", vars_of(setting)
    yield "stages", setting.child("stages", 120.0)
    if setting.cuda:
        yield (
            "stages, no NVML check",
            setting.child("stages", 120.0, {"PYTORCH_NVML_BASED_CUDA_CHECK": "0"}),
        )


def forking(setting: Setting) -> Facts:
    """Fork after each action that a zygote's imports may take; then time zygote and probes."""
    for before, environment in FORKS.items():
        yield f"fork: {before}", setting.child("fork", 90.0, environment, before=before)
    started = time.monotonic()
    with setting.runner("forking", main_workload(dry_run=setting.dry_run)) as runner:
        yield "seconds to build a zygote", round(time.monotonic() - started, 2)
        runner.describe()
        probes = [runner.train(2, steps=3) for _ in range(3)]
    yield "seconds per probe", [round(probe.seconds, 2) for probe in probes]
    yield "outcomes", [f"{probe.outcome} {probe.detail or ''}".strip() for probe in probes]


def nvml_facts() -> dict[str, Any]:
    """Read the first GPU through NVML: memory in both versions, MIG, processes."""
    import pynvml  # noqa: PLC0415 - a dry run does not need it

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


def vars_of(setting: Setting) -> dict[str, Any]:
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


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
