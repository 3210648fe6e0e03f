"""Predicts one case from start to end: GPU, simulation, search -> measurement. Knows no torch."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from harness.devices.cuda_environment import allocator_settings
from harness.devices.device import NoSuchDeviceError
from harness.errors import HarnessError
from harness.identity.recipe import recipe
from harness.measurement import DeviceIdentity, Measurement
from harness.predict.buckets import predict_buckets
from harness.predict.gpus import by_name, is_instance
from harness.predict.inference import Inferred, predict_inference
from harness.predict.prediction import SIMULATION, predict, table_of
from harness.predict.simulation import Simulation
from harness.probes.resuming import resuming

if TYPE_CHECKING:
    from harness.lockfile.profiles import Lock, LockedProfile
    from harness.matrix.case import Case
    from harness.measurement import Predicted
    from harness.predict.gpus import GpuFacts
    from harness.probes.open_cases import Surroundings


_LARGEST = (
    "search.objective: throughput needs a measurement: the predicted batch is the largest, and not "
    "the fastest"
)


def find_gpu(case: Case, lock: Lock) -> GpuFacts:
    """Return the GPU that a case is predicted for.

    If its label stands for several GPUs, a locked one comes first. Raises NoSuchDeviceError for a
    case on the CPU and for an unknown GPU.
    """
    gpu = case.device
    if gpu.name is None:
        raise NoSuchDeviceError(
            "runs on the CPU, where it is measured: --gpu-profile-predict is for GPUs"
        )
    locked = sorted(
        (profile.device.memory_bytes, profile.device.name)
        for profile in lock.of_case(case.id)
        if fnmatchcase(profile.device.name, gpu.name)
    )
    name, memory = gpu.name, gpu.memory
    if locked:
        name = locked[0][1]
        if memory is None and gpu.budget is None and is_instance(name):
            memory = locked[0][0]  # in no table; a lock under a budget holds the budget instead
    try:
        return by_name(name, memory)
    except HarnessError as error:
        raise NoSuchDeviceError(str(error)) from error


def identity_of(case: Case, gpu: GpuFacts) -> DeviceIdentity:
    """Return what the profile of a case on a GPU is matched on, as the GPU itself would give it."""
    memory = case.device.budget or gpu.nvml_bytes
    return DeviceIdentity(gpu.name, memory, case.num_ranks)


def predict_case(
    case: Case,
    gpu: GpuFacts,
    locked: LockedProfile | None,
    surroundings: Surroundings,
    simulation: Simulation,
) -> Measurement:
    """Predict one case: it trains on no GPU.

    Raises WorkloadError when the workload cannot be built or trains at no batch size,
    UnpredictableError when its training cannot be simulated, MachineError when the machine is in
    the way, and other HarnessErrors where a simulated GPU cannot be had.
    """
    started = time.monotonic()
    simulated = simulation.open(case, gpu, locked, surroundings)
    opened = simulated.opened
    runner, description = opened.runner, opened.description
    made = recipe(case, allocator_settings(os.environ) | description.torch_settings)
    made_with = runner.versions | {"simulated": SIMULATION}
    with simulation.closed_by_errors(), resuming(opened, made.digest, made_with) as kept:
        prediction = predict(simulated, gpu)
        table = table_of(simulated, prediction)
        inferred = predict_inference(opened) if prediction.max_batch_size else Inferred()
        bucketed = predict_buckets(opened, prediction)
    resumed = None if kept is None else kept.note()
    largest = prediction.max_batch_size
    tuned = case.search.tuned(prediction.safe_batch_size)
    if bucketed.buckets:
        tuned = bucketed.buckets[-1].batch_size
    found = Measurement(
        axes=dict(case.axes),
        device=identity_of(case, gpu),
        emulated=case.device.emulated,
        source="predicted",
        max_batch_size=largest,
        bounded_by=prediction.bounded_by,
        batch_size=tuned,
        accumulate_grad_batches=case.search.accumulation(tuned) if tuned else None,
        global_batch_size=case.global_batch_size,
        fingerprint=description.fingerprint,
        recipe=made.digest,
        memory_limit_bytes=prediction.memory_limit_bytes,
        peak_memory_bytes=prediction.peak_memory_bytes if largest else None,
        workload=description.workload,
        settings=dict(made.settings),
        made_with=dict(runner.versions),
        inference_batch_sizes=inferred.sizes,
        buckets=bucketed.buckets,
        probes=prediction.probes + inferred.probes + bucketed.probes,
        warnings=(
            *prediction.notes,
            *inferred.notes,
            *bucketed.warnings,
            *(() if resumed is None else (resumed,)),
            *((_LARGEST,) if case.search.objective == "throughput" else ()),
        ),
        memory=table.memory,
        memory_per_sample=table.per_sample,
        memory_lines={} if prediction.holders is None else prediction.holders.lines(),
        seconds=time.monotonic() - started,
    ).with_prediction(prediction.to_lock())
    return replace(found, predicted_peak={})  # the table has them


def predict_for(case: Case, gpu: GpuFacts, surroundings: Surroundings) -> Predicted | None:
    """Predict one case beside its measurement; the locked one is of no matter.

    Raises as `predict_case`.
    """
    with Simulation() as simulation:
        return predict(simulation.open(case, gpu, None, surroundings), gpu).to_lock()
