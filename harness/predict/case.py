"""One case by prediction, from start to end: the GPU that its label stands for, two traces -> measurement. No torch."""

from __future__ import annotations

import os
import time
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from harness.devices.base import NoSuchDeviceError
from harness.devices.cpu import CpuDevice
from harness.devices.cuda import allocator_settings
from harness.errors import HarnessError
from harness.measurement import DeviceIdentity, Measurement
from harness.predict.gpus import by_name
from harness.predict.prediction import locked_values, predict, trace_case
from harness.profile import open_runner, tuned_batch_size
from harness.recipe import recipe

if TYPE_CHECKING:
    from harness.lockfile import Lock, LockedProfile
    from harness.matrix import Case
    from harness.predict.gpus import GpuFacts
    from harness.profile import Surroundings

# Nothing that takes memory is trained: no limit.
UNBOUNDED = CpuDevice(1 << 40)


def find_gpu(case: Case, lock: Lock) -> GpuFacts:
    """Return the GPU that a case is predicted for: of several that its label stands for the one that is locked.

    Raises NoSuchDeviceError for a case on the CPU, and for a GPU of which nothing is known.
    """
    gpu = case.device
    if gpu.name is None:
        raise NoSuchDeviceError("runs on the CPU, where it is measured: --gpu-profile-predict is for GPUs")
    locked = sorted(
        (profile.device.memory_bytes, profile.device.name)
        for profile in lock.of_case(case.id)
        if fnmatchcase(profile.device.name, gpu.name)
    )
    try:
        return by_name(locked[0][1] if locked else gpu.name, gpu.memory)
    except HarnessError as error:
        raise NoSuchDeviceError(str(error)) from error


def identity_of(case: Case, gpu: GpuFacts) -> DeviceIdentity:
    """Return what the profile of a case on a GPU is matched on, as the GPU itself would give it."""
    return DeviceIdentity(gpu.name, case.device.budget or gpu.nvml_bytes)


def predict_case(
    case: Case, gpu: GpuFacts, locked: LockedProfile | None, surroundings: Surroundings
) -> Measurement:
    """Predict one case: nothing is trained, on no GPU.

    Raises WorkloadError when the workload cannot be built, UntraceableError when its training cannot be traced,
    MachineError when the machine is in the way.
    """
    started = time.monotonic()
    with open_runner(case, UNBOUNDED, surroundings) as runner:
        description = runner.describe()
        training = trace_case(case, runner, description, gpu.capability)
        prediction = predict(case, description, training, gpu)
        values = locked_values(prediction, training, runner.versions, locked)
        made = recipe(case, allocator_settings(os.environ) | runner.torch_settings)
        versions = runner.versions
    largest = prediction.max_batch_size
    return Measurement(
        case_id=case.id,
        axes=dict(case.axes),
        device=identity_of(case, gpu),
        emulated=case.device.budget is not None,
        source="predicted",
        max_batch_size=largest,
        bounded_by=prediction.bounded_by,
        batch_size=tuned_batch_size(prediction.safe_batch_size, case.search),
        fingerprint=description.fingerprint,
        recipe=made.digest,
        memory_limit_bytes=prediction.limits.memory_limit_bytes,
        peak_memory_bytes=prediction.peak_memory_bytes if largest else None,
        workload=description.workload,
        settings=dict(made.settings),
        made_with=dict(versions),
        warnings=prediction.notes,
        seconds=time.monotonic() - started,
        **values,
    )
