"""Runs the LR range test of a case at one batch size, and judges it by a lock, as a run does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.bounds.measured import judge
from harness.devices.cpu import CpuDevice
from harness.identity.recipe import recipe
from harness.lockfile.profiles import LockedProfile
from harness.measure.learning_rate import with_learning_rate
from harness.measurement import Measurement
from harness.protocol.case import ObjectSpec, WorkloadSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.matrix.case import Case
    from harness.probes.open_cases import OpenCase

# The batch is given: memory must not be in the way of one that is 1% larger.
_ROOM = 4


@dataclass(frozen=True)
class Run:
    """One run of the range test against a lock."""

    learning_rate: float | None
    range: tuple[float, ...]
    horizon: int | None
    steps: int
    seeds: int
    """How many seeds gave a rate."""
    refusal: str | None
    failed: bool
    messages: tuple[str, ...]
    """What fails or warns."""


def device_of(case: Case, num_threads: int) -> CpuDevice:
    """Return the case's device with more memory, and with a number of threads."""
    budget = case.device.budget
    assert budget is not None, "the reference cases have a budget"
    device = CpuDevice(_ROOM * budget)
    threads = {name: str(num_threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    # Threads that wait by spinning stand in each other's way where other processes run too.
    device.environment = {**CpuDevice.environment, **threads, "OMP_WAIT_POLICY": "PASSIVE"}
    return device


def lock_of(opened: OpenCase, batch_size: int) -> LockedProfile:
    """Lock a case at a batch size, as a first run with the case's own seeds."""
    cold = replace(opened, locked=None)
    return LockedProfile.from_measurement(with_learning_rate(cold, _measurement(cold, batch_size)))


def run_against(
    opened: OpenCase, locked: LockedProfile, batch_size: int, seeds: Sequence[int]
) -> Run:
    """Run the range test with other seeds, and judge the learning rate by the lock.

    Seeds and workload are part of the recipe, and rates of different recipes are not compared: the
    recipe and the fingerprint are taken to be the locked ones.
    """
    case = replace(
        opened.case,
        lr_range=opened.case.lr_range.model_copy(update={"seeds": tuple(seeds)}),
    )
    assert locked.learning_rate is not None, "only a locked rate is a gate"
    # The lock's first seed is none of these, so what it suggested must not confirm one of them.
    known = replace(locked, learning_rates=(locked.learning_rate,))
    reopened = replace(opened, case=case, locked=known)
    measurement = replace(
        _measurement(reopened, batch_size),
        recipe=locked.recipe,
        fingerprint=locked.fingerprint,
        workload=locked.workload,
        settings=locked.settings,
    )
    measured = with_learning_rate(reopened, measurement)
    verdict = judge(measured, locked, case.bounds)
    violations = [one for one in verdict.violations if one.bound == "learning_rate"]
    return Run(
        learning_rate=measured.learning_rate,
        range=measured.learning_rate_range,
        horizon=measured.lr_horizon,
        steps=measured.lr_steps,
        seeds=len(measured.learning_rates),
        refusal=measured.lr_refusal,
        failed=bool(violations),
        messages=(*(one.message for one in violations), *verdict.warnings),
    )


def with_module(case: Case, class_path: str, arguments: dict[str, Any]) -> Case:
    """Return the case with another module, which gets further arguments."""
    module = case.workload["module"]
    assert module is not None, "the reference cases have modules"
    changed = ObjectSpec(class_path=class_path, init_args={**module["init_args"], **arguments})
    return replace(case, workload=WorkloadSpec(**{**case.workload, "module": changed}))


def at_resolution(case: Case, resolution: int) -> Case:
    """Return the case with images of another size."""
    workload = case.workload
    module, data = workload["module"], workload["data"]
    assert module is not None, "the reference cases have modules"
    assert data is not None, "the reference cases have data"
    return replace(
        case,
        workload=WorkloadSpec(
            **{**workload, "module": _sized(module, resolution), "data": _sized(data, resolution)}
        ),
    )


def _sized(spec: ObjectSpec, resolution: int) -> ObjectSpec:
    init_args = {**spec["init_args"], "resolution": resolution}
    return ObjectSpec(class_path=spec["class_path"], init_args=init_args)


def _measurement(opened: OpenCase, batch_size: int) -> Measurement:
    """Return what the search would have found: that a batch fits."""
    device, description = opened.runner.device, opened.description
    made = recipe(opened.case, {**device.memory_settings, **description.torch_settings})
    return Measurement(
        axes=dict(opened.case.axes),
        device=device.identity,
        emulated=device.emulated,
        max_batch_size=batch_size,
        bounded_by="memory",
        batch_size=batch_size,
        fingerprint=description.fingerprint,
        recipe=made.digest,
        memory_limit_bytes=opened.runner.memory_limit_bytes or 0,
        workload=description.workload,
        settings=dict(made.settings),
        made_with={**opened.runner.versions, **device.versions},
    )
