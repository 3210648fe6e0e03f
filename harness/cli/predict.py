"""The verb `gpu-profile predict`: prints the largest batch per GPU and the holders of memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tabulate import tabulate

from harness.cli.common import open_unbounded
from harness.cli.predict_cases import asked_cases
from harness.devices.cuda_environment import allocator_settings
from harness.errors import HarnessError, UntraceableError, WorkloadError
from harness.predict import timeline
from harness.predict.gpus import by_label, by_name
from harness.predict.prediction import by_kind, trace_case
from harness.predict.prediction import predict as predict_on
from harness.units import format_bytes
from harness.wording import shown_path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from harness.matrix.case import Case
    from harness.predict.gpus import GpuFacts
    from harness.predict.prediction import Prediction
    from harness.predict.trace import Trace
    from harness.run.paths import Paths

# A prediction lists this many modules that hold memory at the peak. More than _SHOWN_PREDICTIONS
# predictions are shown as a table alone.
_SHOWN_HOLDERS = 8
_SHOWN_PREDICTIONS = 4
_STEP_PARTS = {"forward": "forward pass", "backward": "backward pass", "optimizer": "optimizer"}
_MOMENTS = {
    "": "before training",
    "model": "when the model moves to the GPU",
    "batch": "when a batch moves to the GPU",
    "validation": "in validation",
}
_SHOWN_KINDS = {
    "parameter": "parameters",
    "gradient": "gradients",
    "optimizer": "optimizer",
    "activation": "activations",
}


class _Answer(NamedTuple):
    case: Case
    prediction: Prediction
    trace: Trace
    torch: str

    @property
    def where(self) -> str:
        return f"{self.prediction.gpu.label} at {self.case.resolution}"


def predict(options: argparse.Namespace, paths: Paths) -> int:
    """Trace each case once per compute capability, and print its prediction for each GPU."""
    if options.plot is not None and Path(options.plot).suffix.lower() != ".png":
        raise HarnessError(f"--plot {options.plot}: pictures are PNG; end the name in .png")
    allocator_settings(os.environ)  # refuses the settings that torch would refuse
    cases = asked_cases(options, paths)
    answers = [answer for case in cases for answer in _answers(case, options.gpu or [], paths)]
    sys.stdout.write("\n".join(_lines(answers, several=len(cases) > 1)) + "\n")
    if options.plot is not None:
        for answer in answers:
            path = _plot(answer, Path(options.plot), several=len(answers) > 1)
            sys.stdout.write(f"timeline: {shown_path(path)}\n")
    return int(any(not answer.prediction.max_batch_size for answer in answers))


def _answers(case: Case, labels: list[str], paths: Paths) -> Iterable[_Answer]:
    gpus = [by_label(label) for label in labels] or [_gpu_of(case)]
    try:
        with open_unbounded(paths, case) as opened:
            traces = {
                capability: trace_case(opened, capability)
                for capability in dict.fromkeys(gpu.capability for gpu in gpus)
            }
            for gpu in gpus:
                training = traces[gpu.capability]
                prediction = predict_on(opened, training, gpu)
                trace = training.at(prediction.shown_batch_size)
                yield _Answer(case, prediction, trace, opened.runner.versions["torch"])
    except WorkloadError as error:
        # An UntraceableError names the user's line; the rest of its traceback is gpu-profile's.
        if not isinstance(error, UntraceableError):
            sys.stderr.write(error.detail)
        raise


def _gpu_of(case: Case) -> GpuFacts:
    if case.device.name is None:
        raise HarnessError(
            f"{case.id} runs on the CPU, where it is measured: name a GPU with --gpu"
        )
    return by_name(case.device.name, case.device.memory)


def _plot(answer: _Answer, path: Path, *, several: bool) -> Path:
    """Draw the timeline of one prediction.

    If there are several, GPU and resolution are added to the name of the file.
    """
    prediction = answer.prediction
    if several:
        path = path.with_name(
            f"{path.stem}-{prediction.gpu.label}-{answer.case.resolution}{path.suffix}"
        )
    title = (
        f"{answer.case.model} on {answer.where}, batch {prediction.shown_batch_size} (predicted)"
    )
    timeline.plot(path, title=title, trace=answer.trace, prediction=prediction)
    return path


def _lines(answers: list[_Answer], *, several: bool) -> Iterable[str]:
    case = answers[0].case
    name = case.model if several else case.id
    yield f"{name}, predicted with torch {answers[0].torch}; nothing was run on a GPU"
    yield ""
    yield tabulate(
        [_row(answer, several=several) for answer in answers], headers="keys", disable_numparse=True
    )
    for answer in answers if len(answers) <= _SHOWN_PREDICTIONS else []:
        prediction = answer.prediction
        label = answer.where if several else prediction.gpu.label
        yield ""
        moment = _moment(prediction.peak_phase)
        yield f"{label}: memory peaks {moment} (batch {prediction.shown_batch_size}), held by"
        for holder in prediction.holders[:_SHOWN_HOLDERS]:
            yield f"  {format_bytes(holder.num_bytes):>10}  {holder}"
    for note in dict.fromkeys(note for answer in answers for note in answer.prediction.notes):
        yield f"note: {note}"


def _moment(phase: str) -> str:
    """Return in words when memory peaks."""
    step, _, part = phase.removeprefix("step ").partition(" ")
    return f"in the {_STEP_PARTS[part]} of step {step}" if part else _MOMENTS[phase]


def _row(answer: _Answer, *, several: bool) -> dict[str, Any]:
    prediction = answer.prediction
    kinds = by_kind(prediction.holders)
    return (
        {"GPU": prediction.gpu.label}
        | ({"resolution": answer.case.resolution} if several else {})
        | {
            "max batch": prediction.max_batch_size,
            "safe": prediction.safe_batch_size,
            "bounded by": prediction.bounded_by,
            "peak": format_bytes(prediction.peak_memory_bytes),
            "limit": format_bytes(prediction.limits.memory_limit_bytes),
        }
        | {shown: format_bytes(kinds[kind]) for kind, shown in _SHOWN_KINDS.items()}
    )
