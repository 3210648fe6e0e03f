"""Reports as runs leave them, for the tests of the page: large, hostile, and of every state."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from case_results import MIB, axes, locked, measurement, result, unmeasured
from hostile_words import HOSTILE

from harness.measurement import Bucket, LrCurve, Measurement, Predicted, Probe, Speed
from harness.page import report_of
from harness.report import render_json

if TYPE_CHECKING:
    from harness.page.report_model import Report
    from harness.report.case_result import CaseResult

SCRIPT = "</script><script>alert(1)</script>"
IMAGE = '<img src=x onerror="alert(2)">'
MARKUP = f"{SCRIPT}{IMAGE}'\"&amp;<!--{{{{ 7 * 7 }}}}{{% raw %}}"
"""Text that would run, or load something, where a page does not escape it."""
_STEPS = 300


def page_report(*results: CaseResult) -> Report:
    """Return the report of a run with these results, after a round trip through JSON."""
    return report_of(as_json(*results))


def as_json(*results: CaseResult) -> dict[str, Any]:
    """Return what report.json holds of these results."""
    data: dict[str, Any] = json.loads(json.dumps(render_json(results), allow_nan=False))
    return data


def many(count: int) -> list[CaseResult]:
    """Return results of as many cases, each with 20 probes and 3 sweeps of 300 steps."""
    return [_searched(number) for number in range(count)]


def _searched(number: int) -> CaseResult:
    draw = random.Random(number)  # noqa: S311 - no secret
    where = axes(model=f"vision_transformer_{number:03}", resolution=224)
    largest = draw.randrange(300, 3000)
    held = {f"activation of blocks.{block}.mlp": 80_000 + 100 * block for block in range(15)}
    fixed = {"parameter": 22 * MIB, "gradient": 22 * MIB, "optimizer": 44 * MIB}
    slope = 250 * MIB / largest
    sizes = [draw.randrange(2, 2 * largest) for _ in range(18)] + [largest, largest + 1]
    probes = tuple(
        Probe(
            size,
            "fits" if size <= largest else "oom",
            phase=None if size <= largest else "backward",
            peak_memory_bytes=int(slope * size) if size <= largest else None,
            seconds=draw.uniform(0.5, 9.0),
            samples_per_second=1200 * size / (size + 40) if size <= largest else None,
            detail=None if size <= largest else "RuntimeError: DefaultCPUAllocator: no memory",
        )
        for size in sizes
    )
    rates = tuple(10 ** (-6 + 7 * step / (_STEPS - 1)) for step in range(_STEPS))
    sweeps = tuple(
        LrCurve(seed, rates, tuple(_loss(rate, draw) for rate in rates), _STEPS)
        for seed in range(3)
    )
    trials = tuple(
        LrCurve(seed, (rate,) * 40, (_loss(rate, draw),) * 40, 40)
        for seed in range(3)
        for rate in (1e-4, 3.16e-4, 1e-3, 3.16e-3, 1e-2)
    )
    diverged = tuple(LrCurve(seed, (0.1,) * 5, (9.0,) * 5, 40) for seed in range(3))
    found = measurement(
        axes=where,
        max_batch_size=largest,
        batch_size=largest,
        probes=probes,
        lr_curves=sweeps + trials + diverged,
        speeds=tuple(Speed(size, 900.0 + size, 12.5, 5) for size in sorted({*sizes})[:4]),
        memory=fixed,
        memory_per_sample=held,
        seconds=draw.uniform(60, 400),
    )
    before = draw.choice([largest, largest - 3, largest + 90])
    lock = locked(
        axes=where,
        max_batch_size=before,
        batch_size=before,
        memory=fixed,
        memory_per_sample=held | {"activation of blocks.3.mlp": 40_000},
    )
    return result(found, lock)


def _loss(rate: float, draw: random.Random) -> float:
    learned = 2.3 - 1.6 / (1 + math.exp(-2 * (math.log10(rate) + 3)))
    return learned + draw.gauss(0, 0.04) + (5 * rate if rate > 0.1 else 0)


def hostile(word: str = MARKUP) -> list[CaseResult]:
    """Return results with markup, escape sequences and commands in every text."""
    text = f"{word} {HOSTILE}"
    bad = replace(measurement().probes[1], outcome="error", detail=text, traceback=text, phase=text)
    found = measurement(
        axes=axes(model=text),
        learning_rate=None,
        learning_rates=(),
        learning_rate_range=(),
        lr_refusal=text,
        made_with={text: text},
        warnings=(text,),
        predicted_peak={text: 3 * MIB, f"2 {text}": MIB},
        inference_batch_sizes={text: 3},
        probes=(*measurement().probes, bad),
    )
    judged = result(found, locked(axes=axes(model=text), max_batch_size=999, batch_size=999))
    return [
        replace(judged, improvements=(text,), update_command=text, reason=text),
        replace(unmeasured("error", text, model=f"lost {text}")),
    ]


def every_state() -> list[CaseResult]:
    """Return a result of each kind that a page has other words for."""
    plain = many(1)[0]
    assert plain.measurement is not None
    refused = measurement(
        axes=axes(model="refused"),
        learning_rate=None,
        learning_rates=(),
        learning_rate_range=(),
        lr_refusal="signal-to-noise ratio 2.1 is under 4",
    )
    return [
        replace(plain, status="passed", violations=(), locked=None),
        result(
            measurement(axes=axes(model="fallen"), max_batch_size=412, batch_size=412),
            locked(axes=axes(model="fallen")),
        ),
        result(refused, locked(axes=axes(model="refused"))),
        result(measurement(axes=axes(model="kept"), lr_kept=True, lr_curves=()), locked()),
        result(measurement(axes=axes(model="never_locked"))),
        result(measurement(axes=axes(model="bare"), learning_rate=None, probes=(), lr_curves=())),
        result(_nothing_trains()),
        unmeasured("skipped", "no GPU here is an NVIDIA H200", gpu="h200", resolution=224),
        unmeasured("error", "GPU 0 was lost (Xid 79); reset it", model="alexnet"),
        _predicted(),
        result(
            measurement(
                axes=axes(model="texts"),
                buckets=(Bucket(128, 900, 940), Bucket(512, 200, 210, "dataset")),
            ),
            locked(
                axes=axes(model="texts"), buckets=(Bucket(128, 900, 940), Bucket(512, 201, 210))
            ),
        ),
    ]


def _nothing_trains() -> Measurement:
    failed = Probe(
        1, "error", phase="forward", seconds=0.9, detail="RuntimeError: shapes", traceback="T\nR"
    )
    return measurement(
        axes=axes(model="nothing_trains"),
        max_batch_size=0,
        batch_size=0,
        bounded_by="nothing fits",
        peak_memory_bytes=None,
        learning_rate=None,
        learning_rates=(),
        learning_rate_range=(),
        samples_per_second=None,
        probes=(failed,),
        lr_curves=(),
    )


def _predicted() -> CaseResult:
    where = axes(model="predicted", gpu="h100", resolution=224)
    then = {"activation of layers.0": 90 * MIB, "parameter": 40 * MIB, "gradient": 40 * MIB}
    now = then | {"activation of layers.0": 120 * MIB}
    found = measurement(
        axes=where,
        source="predicted",
        emulated=False,
        learning_rate=None,
        learning_rates=(),
        learning_rate_range=(),
        samples_per_second=None,
        validation_batch_size=None,
        probes=tuple(replace(one, samples_per_second=None) for one in measurement().probes),
        lr_curves=(),
        artifacts=(),
    ).with_prediction(
        Predicted(
            471,
            {"torch": "2.12.1", "simulated": "1"},
            now,
            now,
            step=tuple(size * MIB for size in (80, 120, 180, 150, 80)),
            step_at_locked=tuple(size * MIB for size in (80, 130, 200, 160, 80)),
        )
    )
    lock = replace(
        locked(axes=where, source="predicted", max_batch_size=500, batch_size=450),
        predicted_batch_size=500,
        predicted_peak=then,
        predicted_step=tuple(size * MIB for size in (80, 120, 170, 140, 80)),
        learning_rate=None,
    )
    return replace(result(found, None), locked=lock, source="predicted", status="failed")
