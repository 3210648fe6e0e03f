"""One case from start to end: device, search, LR range test -> measurement."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness import lr_sweeps
from harness.measurement import Measurement, Probe
from harness.probe import Description, ProbeRunner
from harness.progress import log_probe
from harness.recipe import recipe
from harness.search import SearchResult, search

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.devices import Device
    from harness.lockfile import LockedProfile
    from harness.matrix import Case
    from harness.settings import SearchSettings

_log = logging.getLogger("harness")


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
    with device.hold(), open_runner(case, device, surroundings) as runner:
        _log.info("%s: building the workload", case.id)
        description = runner.describe()
        result, bounded_by = _search_training(case, runner, description, locked)
        measurement = _measurement(case, runner, description, result, bounded_by)
        if measurement.max_batch_size:
            measurement = _with_validation(case, runner, description, measurement, locked)
            measurement = lr_sweeps.with_learning_rate(
                case, runner, description, measurement, locked=locked, surroundings=surroundings
            )
    return replace(measurement, seconds=time.monotonic() - started)


def _search_training(
    case: Case, runner: ProbeRunner, description: Description, locked: LockedProfile | None
) -> tuple[SearchResult[Probe], str]:
    settings = case.search
    validation_steps = 1 if settings.validation is True and description.validation else 0

    def probe(batch_size: int) -> Probe:
        return runner.train(batch_size, steps=settings.steps_per_trial, validation_steps=validation_steps)

    return _search(
        case,
        runner,
        probe,
        minimum=settings.min_batch_size,
        maximum=settings.max_batch_size,
        num_samples=description.num_samples,
        locked=locked.max_batch_size if locked else None,
    )


def _search(
    case: Case,
    runner: ProbeRunner,
    probe: Callable[[int], Probe],
    *,
    minimum: int,
    maximum: int,
    num_samples: int | None,
    locked: int | None,
    share: float = 1.0,
) -> tuple[SearchResult[Probe], str]:
    """Search, never beyond the data set: a batch of more samples than there are is no batch.

    `share` is the part of training's limit that holds for what is searched.
    """

    def limit() -> int | None:
        whole = runner.memory_limit_bytes or _limit(runner)
        return None if whole is None else int(share * whole)

    def logged(batch_size: int) -> Probe:
        done = probe(batch_size)
        log_probe(case.id, done, limit())
        return done

    cap = maximum
    if num_samples is not None:
        cap = max(minimum, min(maximum, num_samples))
    settings = case.search
    result = search(
        logged,
        mode=settings.mode,
        memory_limit_bytes=limit(),
        min_batch_size=minimum,
        max_batch_size=cap,
        init_val=settings.init_val,
        max_trials=settings.max_trials,
        locked=locked,
    )
    bounded_by = "dataset" if result.bounded_by == "cap" and cap < maximum else result.bounded_by
    return result, bounded_by


def _limit(runner: ProbeRunner) -> int | None:
    """Return the limit before any probe has said it: a budget is known, a GPU's total is not."""
    budget = runner.device.bound.get("budget_bytes")
    return int(budget) if budget is not None else None


def _measurement(
    case: Case, runner: ProbeRunner, description: Description, result: SearchResult[Probe], bounded_by: str
) -> Measurement:
    device = runner.device
    largest = result.max_batch_size
    best = next((probe for size, probe in result.trials if size == largest and probe.outcome == "fits"), None)
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
    )


def _with_validation(
    case: Case,
    runner: ProbeRunner,
    description: Description,
    measurement: Measurement,
    locked: LockedProfile | None,
) -> Measurement:
    """Add the validation batch size: searched for, or the training batch that was run with it."""
    settings = case.search
    if not description.validation or settings.validation is False:
        return measurement
    if settings.validation is True:
        return replace(measurement, validation_batch_size=measurement.batch_size)
    share = settings.validation_fraction / settings.target_memory_fraction

    def probe(batch_size: int) -> Probe:
        return runner.train(
            measurement.batch_size,
            steps=settings.steps_per_trial,
            validation_steps=settings.validation_steps,
            validation_batch_size=batch_size,
            validation_share=share,
        )

    result, bounded_by = _search(
        case,
        runner,
        probe,
        minimum=settings.validation_minimum,
        maximum=settings.validation_maximum,
        num_samples=description.num_validation_samples,
        locked=locked.validation_batch_size if locked else None,
        share=share,
    )
    warnings = measurement.warnings
    if not result.max_batch_size:
        smallest = min((probe for _, probe in result.trials), key=lambda probe: probe.batch_size)
        warnings += (
            f"no validation batch size was found ({bounded_by}): batch {smallest.batch_size}: {smallest.detail}",
        )
    return replace(
        measurement,
        warnings=warnings,
        validation_batch_size=result.max_batch_size or None,
        probes=measurement.probes + tuple(probe for _, probe in result.trials),
    )


def tuned_batch_size(max_batch_size: int, settings: SearchSettings) -> int:
    """Apply safety factor and rounding: floor(B x safety_factor), down to a multiple of `round_to`.

    A batch below `round_to` is left as it is: rounding it down would leave nothing.
    """
    # The tolerance keeps 0.1 x 30 at 3: the product of two decimals may fall just short of a whole number.
    tuned = int(max_batch_size * settings.safety_factor + 1e-9)
    if tuned >= settings.round_to:
        tuned -= tuned % settings.round_to
    return max(tuned, min(1, max_batch_size))
