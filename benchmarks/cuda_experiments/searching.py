"""Experiments 4 and 7: compares cold searches with each other, and eight workloads' predictions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from cuda_experiments.models import main_workload, workloads
from cuda_experiments.setting import told, variables
from harness.errors import HarnessError
from harness.predict.gpus import by_label, by_name
from harness.predict.largest_batch import Limits, largest_batch
from harness.predict.trace import AffineTrace
from harness.predict.trace_request import take_traces
from harness.search.search import search

if TYPE_CHECKING:
    from cuda_experiments.setting import Facts, Setting
    from harness.measurement import Probe
    from harness.probes.runner import ProbeRunner
    from harness.search.search import SearchResult

_STEPS = 3
_NUM_COLD = 5
_MAXIMUM = 65536
_EXPANDABLE = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
CONFIGURATIONS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "plain": ({}, {}),
    "expandable segments": (_EXPANDABLE, {}),
    "cudnn.benchmark": ({}, {"benchmark": True}),
    "expandable segments, cudnn.benchmark": (_EXPANDABLE, {"benchmark": True}),
}
"""The environment and the Trainer's settings of each configuration."""


def find_largest(runner: ProbeRunner, locked: int | None = None) -> SearchResult[Probe]:
    """Search as gpu-profile does, with a validation batch in every probe."""
    return search(
        lambda size: runner.train(size, steps=_STEPS, validation_steps=1),
        memory_limit_bytes=_limit_of(runner),
        locked=locked,
    )


def cold_searches(setting: Setting) -> Facts:
    """Run cold searches in new zygotes, in turn for each configuration; then check B and B + 1."""
    spec = main_workload(dry_run=setting.dry_run)
    chosen = {"plain": CONFIGURATIONS["plain"]} if setting.dry_run else CONFIGURATIONS
    found: dict[str, int] = {}
    for turn in range(2 if setting.dry_run else _NUM_COLD):
        for name, (environment, trainer) in chosen.items():
            key = f"{name}, turn {turn + 1}"
            try:
                with variables(environment), setting.runner(key, spec, trainer) as runner:
                    runner.describe()
                    fact = _searched(runner)
            except Exception as error:  # noqa: BLE001 - the other configurations go on
                fact = {"error": told(error)}
            found.setdefault(name, fact.get("B", 0))
            yield key, fact
    for name, (environment, trainer) in chosen.items():
        with variables(environment), setting.runner(f"{name}, check", spec, trainer) as runner:
            runner.describe()
            sizes = [size for size in (found[name], found[name] + 1) if size > 0]
            yield (
                f"{name}, B and B + 1",
                [runner.train(size, steps=_STEPS, validation_steps=1).outcome for size in sizes],
            )


def eight_workloads(setting: Setting) -> Facts:
    """Search each workload, compare with its prediction, and record the allocator's history."""
    archive = setting.directory / "histories.zip"
    setting.directory.mkdir(parents=True, exist_ok=True)
    archive.unlink(missing_ok=True)
    for name, spec in workloads(dry_run=setting.dry_run).items():
        try:
            with setting.runner(name, spec) as runner:
                runner.describe()
                predicted = _predicted(runner)
                fact = _searched(runner)
        except Exception as error:  # noqa: BLE001 - the other workloads go on
            fact = {"error": told(error)}
        else:
            if fact["B"]:
                fact |= {"predicted": predicted, "predicted / B": round(predicted / fact["B"], 4)}
        yield name, fact
        for batch_size in (2, 8) if setting.cuda else ():
            yield (
                f"{name}, history at {batch_size}",
                setting.child(
                    "record",
                    120.0,
                    spec=spec,
                    bound=setting.device().bound,
                    batch_size=batch_size,
                    archive=str(archive),
                    entry=f"{name}-b{batch_size}",
                ),
            )


def _predicted(runner: ProbeRunner) -> int:
    """Predict the result of `_searched`; a GPU of unknown name counts as an H200."""
    try:
        gpu = by_name(runner.device.identity.name)
    except HarnessError:
        gpu = by_label("H200")
    trace = AffineTrace(*take_traces(runner, (2, 4), 1, gpu.capability))
    return largest_batch(trace, Limits(_limit_of(runner), gpu.workspace_bytes), maximum=_MAXIMUM)


def _limit_of(runner: ProbeRunner) -> int:
    bound = runner.device.bound
    if bound["accelerator"] == "cpu":
        return bound["budget_bytes"]
    budget = bound["budget_bytes"] or runner.device.identity.memory_bytes
    return int(budget * bound["fraction"])


def _searched(runner: ProbeRunner) -> dict[str, Any]:
    started = time.monotonic()
    result = find_largest(runner)
    return {
        "B": result.max_batch_size,
        "bounded_by": result.bounded_by,
        "exact": result.exact,
        "limit_bytes": runner.memory_limit_bytes,
        "seconds": round(time.monotonic() - started, 1),
        "trials": [
            {
                "batch_size": size,
                "outcome": probe.outcome,
                "phase": probe.phase,
                "peak_bytes": probe.peak_memory_bytes,
                "seconds": round(probe.seconds, 2),
                "detail": probe.detail,
            }
            for size, probe in result.probes
        ],
    }
