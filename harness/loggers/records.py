"""Makes the plain record of a case that loggers get: parameters, series of metrics, images."""

from __future__ import annotations

import math
from dataclasses import fields
from statistics import fmean
from typing import TYPE_CHECKING, Any

from harness.measurement import Measurement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.case_names import Scalar
    from harness.measurement import LrCurve, Probe
    from harness.report.case_result import CaseResult

_TUNED = (
    "batch_size",
    "max_batch_size",
    "validation_batch_size",
    "accumulate_grad_batches",
    "num_workers",
    "learning_rate",
    "peak_memory_bytes",
    "samples_per_second",
)
assert {*_TUNED} <= {one.name for one in fields(Measurement)}


def record_of(result: CaseResult, measurement: Measurement) -> dict[str, Any]:
    """Return a case for its loggers, as plain data for JSON.

    `metrics` is a list of pairs: a step, and the values of that step. Steps begin anew with each
    series: a probe's number, a sweep's step, a trial's number; tuned values have step 0.
    """
    return {
        "case": result.case_id,
        "status": result.status,
        "parameters": _parameters(result, measurement),
        "metrics": [
            *_probes(measurement),
            *_curves(measurement),
            *_tuned(result, measurement),
        ],
        "final": _final(result, measurement),
        "images": [path for path in measurement.artifacts if path.endswith(".png")],
    }


def _parameters(result: CaseResult, measurement: Measurement) -> dict[str, Scalar]:
    device = measurement.device
    return {
        "case": result.case_id,
        **result.axes,
        "device": device.name,
        "device_memory_bytes": device.memory_bytes,
        "emulated": measurement.emulated,
        "fingerprint": measurement.fingerprint,
        "recipe": measurement.recipe,
        **_named("settings", measurement.settings),
        **_named("versions", measurement.made_with),
    }


def _named(group: str, values: Mapping[str, Any]) -> dict[str, Scalar]:
    return {
        f"{group}/{name}": value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in values.items()
    }


def _probes(measurement: Measurement) -> list[tuple[int, dict[str, float]]]:
    return [(number, _probe(probe)) for number, probe in enumerate(measurement.probes, 1)]


def _probe(probe: Probe) -> dict[str, float]:
    group = "probe" if probe.kind == "train" else f"probe_{probe.kind}"
    return _known(
        {
            f"{group}/batch_size": probe.batch_size,
            f"{group}/fits": int(probe.outcome == "fits"),
            f"{group}/peak_memory_bytes": probe.peak_memory_bytes,
            f"{group}/seconds": probe.seconds,
            f"{group}/samples_per_second": probe.samples_per_second,
        }
    )


def _curves(measurement: Measurement) -> list[tuple[int, dict[str, float]]]:
    """Return each sweep by its steps, and each trial as one point: its rate does not change."""
    rows: list[tuple[int, dict[str, float]]] = []
    trials: dict[int, int] = {}
    for curve in measurement.lr_curves:
        if len(set(curve.learning_rates)) > 1:
            rows += _sweep(curve)
        elif curve.losses:
            trials[curve.seed] = number = trials.get(curve.seed, 0) + 1
            name, losses = f"lr_trial/seed_{curve.seed}", curve.losses
            values = {
                f"{name}/rate": curve.learning_rates[0],
                f"{name}/loss": fmean(losses[len(losses) // 2 :]),
            }
            rows.append((number, _known(values)))
    return rows


def _sweep(curve: LrCurve) -> list[tuple[int, dict[str, float]]]:
    name = f"lr_sweep/seed_{curve.seed}"
    pairs = zip(curve.learning_rates, curve.losses, strict=False)  # a sweep may end early
    return [
        (step, _known({f"{name}/rate": rate, f"{name}/loss": loss}))
        for step, (rate, loss) in enumerate(pairs)
    ]


def _tuned(result: CaseResult, measurement: Measurement) -> list[tuple[int, dict[str, float]]]:
    return [(0, _final(result, measurement))]


def _final(result: CaseResult, measurement: Measurement) -> dict[str, float]:
    locked = result.locked
    return _known(
        {
            **{f"tuned/{name}": getattr(measurement, name) for name in _TUNED},
            **{f"locked/{name}": getattr(locked, name, None) for name in _TUNED},
            "passed": int(result.status == "passed"),
            "seconds": measurement.seconds,
        }
    )


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    """Return the values that are known and finite: a loss may be neither."""
    return {
        name: value for name, value in values.items() if value is not None and math.isfinite(value)
    }
