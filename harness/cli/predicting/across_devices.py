"""Predicts a case on several numbers of GPUs: the largest batch of a rank against their number."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tabulate import tabulate

from harness.cli.answers.answer import Answer
from harness.cli.common import progress_aside, say, say_aside
from harness.cli.predicting.documents import predict_document, prediction_data, samples_per_step
from harness.errors import HarnessError, MachineError, WorkloadError
from harness.matrix.ranks import with_devices
from harness.predict import devices_plot
from harness.predict.prediction import predict
from harness.predict.simulation import Simulation
from harness.progress.events import working_on
from harness.report.words import MISSING
from harness.units import format_bytes
from harness.wording import shown_path, typed_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.cli.predicting.documents import RefusedCaseData
    from harness.matrix.case import Case
    from harness.predict.gpus import GpuFacts
    from harness.predict.prediction import Prediction
    from harness.run.paths import Paths

_TROUBLE = 2


class _Point(NamedTuple):
    """A case on a number of GPUs, and what was predicted for it."""

    case: Case
    gpu: GpuFacts
    prediction: Prediction | None
    problem: str
    """Why there is no prediction."""

    @property
    def where(self) -> str:
        return f"{self.gpu.label} at {self.case.resolution}"


def across_devices(
    asked: Sequence[tuple[Case, GpuFacts]], numbers: Sequence[int], plot: Path | None, paths: Paths
) -> Answer:
    """Predict each case on each of these numbers of GPUs, and print a table.

    plot: the file for a picture of it.

    The exit code is 1 where nothing fits, and else 2 where a number cannot be predicted. Raises
    HarnessError for a number that a case cannot have, before anything is predicted, and
    MachineError where the machine is at fault.
    """
    wanted = [[(with_devices(case, one), gpu) for one in numbers] for case, gpu in asked]
    with progress_aside(sum(map(len, wanted))):
        lines = list(_curves(wanted, paths))
    points = [point for line in lines for point in line]
    predicted = [(one.case, one.prediction) for one in points if one.prediction is not None]
    if not predicted:
        raise HarnessError(points[0].problem)
    data = [prediction_data(case, prediction) for case, prediction in predicted]
    shown = list(_lines(points, several=len({case.resolution for case, _ in asked}) > 1))
    if plot is not None:
        _draw(plot, lines)
        shown.append(f"curve: {shown_path(plot)}")
        for one in data:
            one["plot"] = typed_path(plot)
    say("\n".join(shown))
    refused: list[RefusedCaseData] = [
        {
            "case": one.case.id,
            "gpu": one.gpu.label,
            "devices": one.case.num_ranks,
            "message": one.problem,
        }
        for one in points
        if one.prediction is None
    ]
    nothing_fits = any(not prediction.max_batch_size for _, prediction in predicted)
    code = 1 if nothing_fits else _TROUBLE if refused else 0
    return Answer(code, predict_document(data, refused=refused))


def _curves(
    wanted: Sequence[Sequence[tuple[Case, GpuFacts]]], paths: Paths
) -> Iterator[list[_Point]]:
    with tempfile.TemporaryDirectory() as folder, Simulation() as simulation:
        surroundings = replace(paths.surroundings, directory=Path(folder))
        for line in wanted:
            expected: int | None = None
            points = []
            for case, gpu in line:
                try:
                    with working_on(case.id, f"on {case.num_ranks} x {gpu.label}"):
                        opened = simulation.open(case, gpu, None, surroundings)
                        found = predict(opened, gpu, with_holders=False, expected=expected)
                except MachineError:
                    raise
                except HarnessError as error:
                    if isinstance(error, WorkloadError):
                        say_aside(error.detail)
                    points.append(_Point(case, gpu, None, str(error)))
                    continue
                expected = found.max_batch_size or None
                points.append(_Point(case, gpu, found, ""))
            yield points


def _draw(path: Path, lines: Sequence[Sequence[_Point]]) -> None:
    first = lines[0][0].case
    curves = {
        line[0].where: [
            devices_plot.Point(
                one.case.num_ranks, one.prediction.max_batch_size, one.prediction.bounded_by
            )
            for one in line
            if one.prediction is not None
        ]
        for line in lines
    }
    devices_plot.plot(path, title=f"{first.model}: largest batch (predicted)", curves=curves)


def _lines(points: Sequence[_Point], *, several: bool) -> Iterator[str]:
    case = points[0].case
    torch = next(one.prediction.made_with["torch"] for one in points if one.prediction is not None)
    name = case.model if several else case.id
    yield (
        f"{name}, predicted with torch {torch} on simulated GPUs, rank 0 for all ranks; nothing ran "
        "on a GPU"
    )
    yield ""
    rows = [_row(one, several=several) for one in points]
    yield tabulate(rows, headers="keys", disable_numparse=True)
    for one in points:
        if one.prediction is None:
            yield f"{_label(one, several=several)}: {one.problem}"
    told = [one for one in points if one.prediction is not None]
    notes = [note for one in told if one.prediction for note in one.prediction.notes]
    for note in dict.fromkeys(notes):
        of = [one for one in told if one.prediction and note in one.prediction.notes]
        on = ", ".join(_label(one, several=several) for one in of)
        where = "" if len(of) == len(told) else f" on {on}"
        yield f"note{where}: {note}"


def _label(one: _Point, *, several: bool) -> str:
    return f"{one.case.num_ranks} x {one.where if several else one.gpu.label}"


def _row(one: _Point, *, several: bool) -> dict[str, Any]:
    found = one.prediction
    row = {"GPU": one.gpu.label, "devices": one.case.num_ranks}
    row |= {"resolution": one.case.resolution} if several else {}
    if found is None:
        return {**row, "batch per rank": MISSING}
    return {
        **row,
        "batch per rank": found.max_batch_size,
        "samples of a step": samples_per_step(one.case, found),
        "peak per rank": format_bytes(found.peak_memory_bytes),
        "limit": format_bytes(found.memory_limit_bytes),
        "bounded by": found.bounded_by,
    }
