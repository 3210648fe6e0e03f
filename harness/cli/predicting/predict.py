"""The verb `gpu-profile predict`: prints the largest batch per GPU and the holders of memory."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tabulate import tabulate

from harness.cli.answers.answer import Answer
from harness.cli.common import progress_aside, say, say_aside
from harness.cli.predicting.across_devices import across_devices
from harness.cli.predicting.cases import asked_cases, asked_devices, at_half, gpus_of
from harness.cli.predicting.compare import compare
from harness.cli.predicting.documents import predict_document, prediction_data, samples_per_step
from harness.cli.predicting.every_case import every_case
from harness.cli.predicting.what_if import AS_IT_IS, what_if, what_if_lines
from harness.devices.cuda_environment import allocator_settings
from harness.errors import HarnessError, WorkloadError
from harness.matrix.ranks import with_devices
from harness.predict import timeline
from harness.predict.prediction import predict as predict_on
from harness.predict.simulation import Simulation
from harness.progress.events import working_on
from harness.units import format_bytes
from harness.wording import shown_path, typed_path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from harness.cli.predicting.documents import PredictionData
    from harness.matrix.case import Case
    from harness.predict.gpus import GpuFacts
    from harness.predict.holders import PeakHolders
    from harness.predict.prediction import Prediction
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


class _Predicted(NamedTuple):
    case: Case
    prediction: Prediction
    data: PredictionData

    @property
    def where(self) -> str:
        return f"{self.prediction.gpu.label} at {self.case.resolution}"


class _Outputs(NamedTuple):
    """The files that are wanted beside the table."""

    plot: Path | None
    snapshot: Path | None
    several: bool
    """Whether there are several predictions, each with files of its own."""

    def of(self, path: Path, case: Case, gpu: GpuFacts) -> Path:
        """Return the file of one prediction: of several, each name tells GPU and resolution."""
        if not self.several:
            return path
        return path.with_name(f"{path.stem}-{gpu.label}-{case.resolution}{path.suffix}")


def predict(options: argparse.Namespace, paths: Paths) -> Answer:
    """Search each case on each GPU, simulated, and print what was found."""
    if options.plot is not None and Path(options.plot).suffix.lower() != ".png":
        raise HarnessError(f"--plot {options.plot}: pictures are PNG; end the name in .png")
    allocator_settings(os.environ)  # refuses the settings that torch would refuse
    if options.compare is not None:
        return compare(options, paths)
    cases = asked_cases(options, paths)
    labels = options.gpu or []
    numbers = asked_devices(options.devices or ())
    if len(numbers) == 1:
        cases = [with_devices(case, numbers[0]) for case in cases]
    outputs = _Outputs(
        None if options.plot is None else Path(options.plot),
        None if options.snapshot is None else Path(options.snapshot),
        several=len(cases) * max(1, len(labels)) > 1,
    )
    if options.all:
        return every_case(cases, labels, paths)
    asked = [(case, gpu) for case in cases for gpu in gpus_of(case, labels)]
    if len(numbers) > 1:
        if options.what_if or options.snapshot is not None:
            raise HarnessError(
                "several --devices are drawn as a curve, without --what-if and --snapshot: name one, "
                "or leave these out"
            )
        return across_devices(asked, numbers, outputs.plot, paths)
    if options.what_if:
        return _what_if(asked, options, paths)
    with progress_aside(len(asked)):
        answers, files = _answers(asked, outputs, paths)
    say("\n".join([*_lines(answers, several=len(cases) > 1), *files]))
    document = predict_document([one.data for one in answers])
    return Answer(int(any(not one.prediction.max_batch_size for one in answers)), document)


def _what_if(
    asked: list[tuple[Case, GpuFacts]], options: argparse.Namespace, paths: Paths
) -> Answer:
    if len(asked) > 1 or options.plot is not None or options.snapshot is not None:
        raise HarnessError(
            "--what-if is for one case on one GPU, and draws nothing: name one --gpu and one "
            "--resolution, and leave out --plot and --snapshot"
        )
    ((case, gpu),) = asked
    with progress_aside():
        halved = at_half(case, options, paths)
        if halved is not None and options.devices:
            halved = with_devices(halved, case.num_ranks)
        tried = what_if(case, gpu, halved, paths)
    say("\n".join(what_if_lines(case, tried)))
    changes = [one.data() for one in tried]
    as_it_is = [
        one["prediction"] for one in changes if one["prediction"] and one["change"] == AS_IT_IS
    ]
    document = predict_document(as_it_is, changes)
    return Answer(int(not any(one.batch_size for one in tried)), document)


def _answers(
    asked: list[tuple[Case, GpuFacts]], outputs: _Outputs, paths: Paths
) -> tuple[list[_Predicted], list[str]]:
    """Return the predictions, and a line for each file that was written."""
    answers, files = [], []
    with tempfile.TemporaryDirectory() as folder, Simulation() as simulation:
        surroundings = replace(paths.surroundings, directory=Path(folder))
        for case, gpu in asked:
            snapshot = None
            if outputs.snapshot is not None:
                snapshot = outputs.of(outputs.snapshot, case, gpu)
            try:
                with working_on(case.id, f"on {gpu.label}"):
                    opened = simulation.open(case, gpu, None, surroundings)
                    prediction = predict_on(
                        opened, gpu, snapshot=None if snapshot is None else snapshot.absolute()
                    )
            except WorkloadError as error:
                say_aside(error.detail)
                raise
            data = prediction_data(case, prediction)
            answers.append(_Predicted(case, prediction, data))
            recorded = prediction.holders is not None
            if snapshot is not None:
                data["snapshot"] = typed_path(snapshot) if recorded else None
                files.append(
                    f"no snapshot for {answers[-1].where}: nothing recorded its allocations"
                    if not recorded
                    else f"snapshot for https://pytorch.org/memory_viz: {shown_path(snapshot)}"
                )
            if outputs.plot is not None:
                path = outputs.of(outputs.plot, case, gpu)
                data["plot"] = typed_path(path) if recorded else None
                files.append(_plot(answers[-1], path))
    return answers, files


def _plot(answer: _Predicted, path: Path) -> str:
    """Draw a step of a prediction, and return a line about it."""
    prediction = answer.prediction
    if prediction.holders is None:
        return f"no timeline for {answer.where}: nothing recorded its allocations"
    title = (
        f"{answer.case.model} on {answer.where}, batch {prediction.shown_batch_size} (predicted)"
    )
    timeline.plot(
        path,
        title=title,
        holders=prediction.holders,
        memory_limit_bytes=prediction.memory_limit_bytes,
    )
    return f"timeline: {shown_path(path)}"


def _lines(answers: list[_Predicted], *, several: bool) -> Iterable[str]:
    case = answers[0].case
    name = case.model if several else case.id
    torch = answers[0].prediction.made_with["torch"]
    yield f"{name}, predicted with torch {torch} on simulated GPUs; nothing ran on a GPU"
    yield ""
    yield tabulate(
        [_row(answer, several=several) for answer in answers], headers="keys", disable_numparse=True
    )

    def label(answer: _Predicted) -> str:
        return answer.where if several else answer.prediction.gpu.label

    for answer in answers if len(answers) <= _SHOWN_PREDICTIONS else []:
        if answer.prediction.holders is not None:
            yield from _held(label(answer), answer.prediction.holders)
    for note in dict.fromkeys(note for answer in answers for note in answer.prediction.notes):
        of = [answer for answer in answers if note in answer.prediction.notes]
        where = "" if len(of) == len(answers) else f" on {', '.join(map(label, of))}"
        yield f"note{where}: {note}"


def _held(label: str, holders: PeakHolders) -> Iterable[str]:
    yield ""
    moment = _moment(holders.phase)
    yield f"{label}: memory peaks {moment} (batch {holders.batch_size}), held by"
    shown = holders.holders[:_SHOWN_HOLDERS]
    width = max((len(str(holder)) for holder in shown), default=0)
    for holder in shown:
        held = format_bytes(holder.num_bytes)
        yield f"  {held:>10}  {holder!s:<{width}}  {holder.line}".rstrip()


def _moment(phase: str) -> str:
    """Return in words when memory peaks."""
    step, _, part = phase.removeprefix("step ").partition(" ")
    return f"in the {_STEP_PARTS[part]} of step {step}" if part else _MOMENTS[phase]


def _row(answer: _Predicted, *, several: bool) -> dict[str, Any]:
    prediction = answer.prediction
    kinds = None if prediction.holders is None else prediction.holders.by_kind()
    return (
        {"GPU": prediction.gpu.label}
        | ({"resolution": answer.case.resolution} if several else {})
        | ({"devices": answer.case.num_ranks} if answer.case.num_ranks > 1 else {})
        | {
            "max batch": prediction.max_batch_size,
            "safe": prediction.safe_batch_size,
        }
        | (
            {"samples of a step": samples_per_step(answer.case, prediction)}
            if answer.case.num_ranks > 1
            else {}
        )
        | {
            "bounded by": prediction.bounded_by,
            "peak": format_bytes(prediction.peak_memory_bytes),
            "limit": format_bytes(prediction.memory_limit_bytes),
        }
        | {
            shown: "-" if kinds is None else format_bytes(kinds[kind])
            for kind, shown in _SHOWN_KINDS.items()
        }
    )
