"""The verb `gpu-profile predict`: a table over GPUs, and what holds the memory at the peak."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tabulate import tabulate

from harness.cli_verbs import find_case, open_unbounded
from harness.endings import WorkloadError
from harness.errors import HarnessError
from harness.predict.gpus import by_label, by_name
from harness.predict.prediction import by_kind, trace_case
from harness.predict.prediction import predict as predict_on
from harness.session import Session
from harness.units import format_bytes

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from harness.matrix import Case
    from harness.predict.gpus import GpuFacts
    from harness.predict.prediction import Prediction
    from harness.session import Paths

# Of the modules that hold memory at the peak, so many are shown.
_SHOWN_HOLDERS = 8
_SHOWN_KINDS = {
    "parameter": "parameters",
    "gradient": "gradients",
    "optimizer": "optimizer",
    "activation": "activations",
}


def predict(options: argparse.Namespace, paths: Paths) -> int:
    """Trace a case once and solve it for each GPU."""
    session = Session(paths)
    case = find_case(session, options.case, paths)
    gpus = [by_label(label) for label in options.gpu] if options.gpu else [_gpu_of(case)]
    try:
        with open_unbounded(session, case) as runner:
            description = runner.describe()
            traces = {
                capability: trace_case(case, runner, description, capability)
                for capability in dict.fromkeys(gpu.capability for gpu in gpus)
            }
            torch = runner.versions["torch"]
    except WorkloadError as error:
        sys.stderr.write(error.detail)
        raise
    predictions = [predict_on(case, description, traces[gpu.capability], gpu) for gpu in gpus]
    sys.stdout.write("\n".join(_lines(case, torch, predictions)) + "\n")
    return int(any(not prediction.max_batch_size for prediction in predictions))


def _gpu_of(case: Case) -> GpuFacts:
    if case.device.name is None:
        raise HarnessError(f"{case.id} runs on the CPU, where it is measured: name a GPU with --gpu")
    return by_name(case.device.name, case.device.memory)


def _lines(case: Case, torch: str, predictions: list[Prediction]) -> Iterable[str]:
    yield f"{case.id}, predicted with torch {torch}; nothing was run on a GPU"
    yield ""
    rows = []
    for prediction in predictions:
        kinds = by_kind(prediction.holders)
        rows.append(
            {
                "GPU": prediction.gpu.label,
                "max batch": prediction.max_batch_size,
                "safe": prediction.safe_batch_size,
                "bounded by": prediction.bounded_by,
                "peak": format_bytes(prediction.peak_memory_bytes),
                "limit": format_bytes(prediction.limits.memory_limit_bytes),
            }
            | {shown: format_bytes(kinds[kind]) for kind, shown in _SHOWN_KINDS.items()}
        )
    yield tabulate(rows, headers="keys", disable_numparse=True)
    for prediction in predictions:
        yield ""
        yield f"{prediction.gpu.label}: most is live in {prediction.peak_phase}, at batch {prediction.max_batch_size or 1}"
        for holder in prediction.holders[:_SHOWN_HOLDERS]:
            outside = " outside of all modules" if holder.kind == "activation" else ""
            where = f" of {holder.module}" if holder.module else outside
            yield f"  {format_bytes(holder.num_bytes):>10}  {holder.kind}{where}"
    for note in dict.fromkeys(note for prediction in predictions for note in prediction.notes):
        yield f"note: {note}"
