"""One case from start to end: device, search, LR range test -> measurement."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness import host, lr_sweeps
from harness.aftermath import soak, with_snapshot
from harness.batch_search import search_training, with_validation
from harness.errors import HarnessError, MachineError
from harness.measurement import Measurement, Probe
from harness.predict.gpus import by_name
from harness.predict.prediction import locked_values, predict, trace_case
from harness.probe import Description, ProbeRunner
from harness.recipe import recipe

if TYPE_CHECKING:
    from pathlib import Path

    from harness.devices import Device
    from harness.lockfile import LockedProfile
    from harness.matrix import Case
    from harness.search import SearchResult
    from harness.settings import SearchSettings

_log = logging.getLogger("harness")

_AFRESH = (
    "building the workload {}, which forks do not survive: every probe imports and builds everything anew; "
    "leave it to `setup` or `configure_model`, and probes take seconds less"
)
_GROWING = "the memory of batch {} still grew from step to step when its probe ended: search.soak_steps tells whether it lasts"
_NO_LOSS = (
    "the training loss at batch {} is not a number after the first steps: its memory is that of a training, but nothing is "
    "learned"
)
_THRASHING = (
    "batch {} trains, but thrashing: torch's allocator emptied its cache {} times after the first step, and each time is "
    "slow; a smaller safety_factor, or allow_thrashing: false, avoids it"
)


@dataclass(frozen=True)
class Surroundings:
    """Where the probes of a run live."""

    directory: Path
    """The run's results; a case gets a folder of its own below."""
    working_directory: Path
    """The user's, as in training."""
    sys_path: tuple[str, ...]
    """pytest's module path."""


def open_runner(case: Case, device: Device, surroundings: Surroundings) -> ProbeRunner:
    """Make the case's zygote and probes ready to be entered."""
    return ProbeRunner(
        case.workload,
        device,
        case.trainer,
        surroundings.directory / case.id,
        working_directory=surroundings.working_directory,
        sys_path=surroundings.sys_path,
        timeout=case.search.probe_timeout,
    )


def profile_case(
    case: Case, device: Device, locked: LockedProfile | None, surroundings: Surroundings
) -> Measurement:
    """Measure one case.

    The lock only says where to look first: the batch size that comes out is the same without it.

    Raises WorkloadError when the workload cannot be built or set up, MachineError when the machine is in
    the way. Everything that a batch size does to the workload is part of the measurement.
    """
    started = time.monotonic()
    with device.hold(), ExitStack() as stack:
        host.check_memory(device)
        runner = stack.enter_context(open_runner(case, device, surroundings))
        _log.info("%s: building the workload", case.id)
        description = runner.describe()
        predicted = _predicted(case, runner, description, locked)
        aim = predicted.get("predicted_batch_size")
        if locked is not None and locked.source == "predicted":
            locked = None  # of what was measured there is nothing yet
        result, bounded_by = search_training(case, runner, description, locked, aim)
        measurement = replace(_measurement(case, runner, description, result, bounded_by), **predicted)
        if measurement.max_batch_size:
            soak(case, runner, description, measurement)
            measurement = with_snapshot(case, runner, description, measurement)
            measurement = with_validation(case, runner, description, measurement, locked)
            measurement = lr_sweeps.with_learning_rate(
                case, runner, description, measurement, locked=locked, surroundings=surroundings
            )
    shared = host.shared_memory_note(description.num_workers)
    notes = device.notes() + (() if shared is None else (shared,))
    return replace(measurement, warnings=measurement.warnings + notes, seconds=time.monotonic() - started)


def _predicted(
    case: Case, runner: ProbeRunner, description: Description, locked: LockedProfile | None
) -> dict[str, Any]:
    """Predict what is about to be measured, on a GPU that is known; return the fields of a measurement that this fills.

    That it cannot be predicted is no trouble: the search finds its way without.
    """
    try:
        gpu = by_name(runner.device.identity.name)
        training = trace_case(case, runner, description, gpu.capability)
        prediction = predict(case, description, training, gpu)
        values = locked_values(prediction, training, runner.versions, locked)
    except MachineError:
        raise
    except HarnessError as error:
        _log.debug("%s: not predicted: %s", case.id, error)
        return {}
    _log.info("%s: batch %d is predicted", case.id, prediction.max_batch_size)
    return values


def _measurement(
    case: Case, runner: ProbeRunner, description: Description, result: SearchResult[Probe], bounded_by: str
) -> Measurement:
    device = runner.device
    largest = result.max_batch_size
    best = dict(result.trials).get(largest)  # of two probes the later, which is no scout
    made = recipe(case, device.memory_settings | runner.torch_settings)
    return Measurement(
        case_id=case.id,
        axes=dict(case.axes),
        device=device.identity,
        emulated=device.emulated,
        max_batch_size=largest,
        bounded_by=bounded_by,  # type: ignore[arg-type] # a str out of two Literals of the same words
        batch_size=tuned_batch_size(largest, case.search),
        fingerprint=description.fingerprint,
        recipe=made.digest,
        memory_limit_bytes=runner.memory_limit_bytes or 0,
        peak_memory_bytes=best.peak_memory_bytes if best else None,
        samples_per_second=best.samples_per_second if best else None,
        non_monotone=result.non_monotone,
        workload=description.workload,
        settings=dict(made.settings),
        made_with={**runner.versions, **device.versions},
        probes=tuple(probe for _, probe in result.trials),
        warnings=_warnings(runner, best),
    )


def _warnings(runner: ProbeRunner, best: Probe | None) -> tuple[str, ...]:
    warnings: tuple[str, ...] = ()
    if runner.afresh is not None:
        warnings += (_AFRESH.format(runner.afresh),)
    if best is not None and best.alloc_retries:
        warnings += (_THRASHING.format(best.batch_size, best.alloc_retries),)
    if best is not None and best.growing:
        warnings += (_GROWING.format(best.batch_size),)
    if best is not None and not best.finite_loss:
        warnings += (_NO_LOSS.format(best.batch_size),)
    return warnings


def tuned_batch_size(max_batch_size: int, settings: SearchSettings) -> int:
    """Apply safety factor and rounding: floor(B x safety_factor), down to a multiple of `round_to`.

    A batch below `round_to` is left as it is: rounding it down would leave nothing.
    """
    # The tolerance keeps 0.1 x 30 at 3: the product of two decimals may fall just short of a whole number.
    tuned = int(max_batch_size * settings.safety_factor + 1e-9)
    if tuned >= settings.round_to:
        tuned -= tuned % settings.round_to
    return max(tuned, min(1, max_batch_size))
