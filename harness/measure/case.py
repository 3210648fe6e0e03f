"""Measures one case from start to end: device, search, LR range test -> measurement."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.batch_search.repeated import with_repeated_bracket
from harness.batch_search.training import search_training
from harness.devices import host_memory
from harness.errors import HarnessError
from harness.identity.recipe import recipe
from harness.measure.after_search import refuse_broken_libraries, soak, with_snapshot
from harness.measure.buckets import with_buckets
from harness.measure.few_divisors import warn_of_few_divisors
from harness.measure.flat_memory import warn_of_flat_memory
from harness.measure.inference import with_inference
from harness.measure.learning_rate import kept_if_unchanged, with_learning_rate
from harness.measure.loader_workers import with_workers
from harness.measure.memory import with_memory
from harness.measure.sharing import alone_if_crowded
from harness.measure.so_far import SOAK, forget, keep
from harness.measure.throughput import with_speed_confirmed, with_throughput
from harness.measure.validation import with_validation
from harness.measurement import Measurement
from harness.predict.case import predict_for
from harness.predict.gpus import by_name, is_instance
from harness.probes.open_cases import open_case
from harness.probes.outcomes import warn_of_growth
from harness.probes.resuming import resuming
from harness.progress.events import tell_phase, within

if TYPE_CHECKING:
    from harness.batch_search.sizes import FoundBatch
    from harness.devices.device import Device
    from harness.lockfile.profiles import LockedProfile
    from harness.matrix.case import Case
    from harness.measurement import Predicted, Probe
    from harness.probes.open_cases import OpenCase, Surroundings
    from harness.probes.runner import ProbeRunner

_log = logging.getLogger("harness")

_AFRESH = (
    "building the workload {}, so its probes cannot be forked and each starts Python anew, which "
    "takes seconds; start threads and CUDA in `setup` or `configure_model` instead"
)
_GROWING = (
    "the memory of batch {} still grew from step to step when its probe ended; search.soak_steps "
    "shows whether it lasts"
)
_NO_LOSS = (
    "the training loss at batch {} is not a number after the first steps: the memory is "
    "measured correctly, but nothing is learned"
)
_NOT_QUICK = (
    "nothing is locked that the preset quick could verify, so it searched as without a preset"
)
_SIMULATED = (
    "this GPU is simulated: the memory is what torch asked for, nothing was computed, and no time "
    "is a GPU's"
)
_THRASHING = (
    "batch {} trains, but it thrashes: torch's allocator emptied its cache {} times after the "
    "first step, which is slow; set a smaller safety_factor, or allow_thrashing: false"
)


def measure_case(
    case: Case, device: Device, locked: LockedProfile | None, surroundings: Surroundings
) -> Measurement:
    """Measure one case.

    The lock only decides where the search starts; the largest batch is the same without it.

    Raises WorkloadError when the workload cannot be built or set up, or when the tuned batch fails
    in the soak; MachineError when the machine is at fault. Batch sizes that fail in the search are
    part of the measurement.
    """
    started = time.monotonic()

    def measure() -> Measurement:
        return _measure_on(device, case, locked, surroundings)

    measurement = alone_if_crowded(case, device, measure)
    return replace(measurement, seconds=time.monotonic() - started)


def _measure_on(
    device: Device, case: Case, locked: LockedProfile | None, surroundings: Surroundings
) -> Measurement:
    with device.hold():
        host_memory.check_memory(device)
        tell_phase(case.id, "building the workload")
        _log.info("%s: building the workload", case.id)
        with open_case(case, device, locked, surroundings) as opened:
            measurement = _measure(opened)
    num_workers = max(opened.description.num_workers, measurement.num_workers or 0)
    shared = host_memory.shared_memory_note(num_workers)
    notes = device.notes() + (() if shared is None else (shared,))
    return replace(measurement, warnings=measurement.warnings + notes)


def _measure(opened: OpenCase) -> Measurement:
    digest = recipe(opened.case, _memory_settings(opened)).digest
    with resuming(opened, digest, _made_with(opened.runner)) as kept:
        measurement = _measure_all(opened)
    note = None if kept is None else kept.note()
    if note is None:
        return measurement
    return replace(measurement, warnings=(*measurement.warnings, note))


def _measure_all(opened: OpenCase) -> Measurement:
    predicted = _predicted(opened)
    if opened.locked is not None and opened.locked.source == "predicted":
        opened = replace(opened, locked=None)  # nothing was measured yet
    # The preset `thorough` searches as if nothing were locked, and then judges by the lock.
    thorough = opened.case.preset == "thorough"
    start = replace(opened, locked=None) if thorough else opened
    found = search_training(start, None if predicted is None else predicted.batch_size)
    refuse_broken_libraries(opened, found)
    warnings: tuple[str, ...] = ()
    if thorough:
        found, warnings = with_repeated_bracket(start, found)
    elif opened.case.preset == "quick" and opened.locked is None:
        warnings = (_NOT_QUICK,)
    measurement = _measurement(opened, found).with_prediction(predicted)
    measurement = replace(measurement, warnings=(*measurement.warnings, *warnings))
    measurement = with_buckets(start, measurement, found, repeat=thorough)
    if measurement.max_batch_size:
        measurement = with_throughput(opened, measurement)
        keep(opened, measurement, SOAK)
        soak(opened, measurement)
        measurement = with_snapshot(opened, measurement)
        keep(opened, kept_if_unchanged(measurement, opened.locked), "the search for validation")
        measurement = with_validation(start, measurement)
        measurement = with_inference(start, measurement)
        keep(opened, kept_if_unchanged(measurement, opened.locked), "the LR range test")
        measurement = with_learning_rate(opened, measurement)
        measurement = with_speed_confirmed(opened, measurement)
        measurement = with_workers(opened, measurement)
        keep(opened, measurement, "the table of where the memory goes")
        # Last: its probe is no answer that is kept, so an interrupted run would repeat it.
        measurement = with_memory(start, measurement)
        forget(opened)
    return measurement


def _memory_settings(opened: OpenCase) -> dict[str, Any]:
    return opened.runner.device.memory_settings | opened.description.torch_settings


def _predicted(opened: OpenCase) -> Predicted | None:
    """Predict the case for its own device; None if that is not possible.

    The search needs no prediction: it only starts closer to its end with one.
    """
    case, device = opened.case, opened.runner.device
    if device.identity.simulated:
        return None  # the search itself is what a prediction would be
    try:
        product = device.identity.product
        # Only the total of an instance is in no table.
        gpu = by_name(product, device.total_bytes if is_instance(product) else None)
        around = opened.surroundings.below(f"{case.id}/predicted")
        with within("prediction"):
            predicted = predict_for(case, gpu, around)
    except HarnessError as error:
        # Its machine is another one than the measurement's: no trouble there ends this.
        _log.debug("%s: not predicted: %s", case.id, error)
        return None
    if predicted is not None:
        _log.info("%s: batch %d is predicted", case.id, predicted.batch_size)
    return predicted


def _measurement(opened: OpenCase, found: FoundBatch) -> Measurement:
    case, runner, description = opened.case, opened.runner, opened.description
    device, best = runner.device, found.best
    made = recipe(case, _memory_settings(opened))
    tuned = case.search.tuned(found.max_batch_size)
    # Of a transformers.Trainer the batches are counted.
    counted = "trainer" in description.workload
    flat = () if counted else warn_of_flat_memory(case, found)
    return Measurement(
        axes=dict(case.axes),
        device=device.identity,
        emulated=device.emulated,
        max_batch_size=found.max_batch_size,
        bounded_by=found.bounded_by,
        batch_size=tuned,
        accumulate_grad_batches=case.search.accumulation(tuned) if tuned else None,
        global_batch_size=case.global_batch_size,
        fingerprint=description.fingerprint,
        recipe=made.digest,
        memory_limit_bytes=runner.memory_limit_bytes or 0,
        peak_memory_bytes=best.peak_memory_bytes if best else None,
        # A simulated GPU computes nothing, so its speed is not one.
        samples_per_second=(
            best.samples_per_second if best and not device.identity.simulated else None
        ),
        non_monotone=found.non_monotone,
        workload=description.workload,
        settings=dict(made.settings),
        made_with=_made_with(runner),
        probes=found.probes,
        warnings=_warnings(runner, best) + flat + warn_of_few_divisors(case, found),
    )


def _made_with(runner: ProbeRunner) -> dict[str, str]:
    return {**runner.versions, **runner.device.versions}


def _warnings(runner: ProbeRunner, best: Probe | None) -> tuple[str, ...]:
    warnings: tuple[str, ...] = ()
    if runner.device.identity.simulated:
        warnings += (_SIMULATED,)
    if runner.afresh is not None:
        warnings += (_AFRESH.format(runner.afresh),)
    if best is not None and best.alloc_retries:
        warnings += (_THRASHING.format(best.batch_size, best.alloc_retries),)
    if best is not None and best.growing:
        warnings += (_GROWING.format(best.batch_size),)
    if best is not None and (growth := warn_of_growth(best)) is not None:
        warnings += (growth,)
    if best is not None and not best.finite_loss:
        warnings += (_NO_LOSS.format(best.batch_size),)
    if best is not None:
        warnings += best.notes
    return warnings
