"""Predicts every case of the matrix: `gpu-profile predict --all`."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tabulate import tabulate

from harness.cli.answers.answer import Answer
from harness.cli.common import progress_aside, say, say_aside
from harness.cli.predicting.cases import gpus_of
from harness.cli.predicting.documents import predict_document, prediction_data
from harness.errors import HarnessError, MachineError
from harness.predict.prediction import predict
from harness.predict.simulation import Simulation
from harness.simulated.library import library
from harness.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.cli.predicting.documents import PredictionData, RefusedCaseData
    from harness.matrix.case import Case
    from harness.run.paths import Paths

_TROUBLE = 2


class _Refused(NamedTuple):
    case: str
    devices: int
    gpu: str | None
    message: str


def every_case(cases: Sequence[Case], labels: Sequence[str], paths: Paths) -> Answer:
    """Predict cases, each on its own GPU or on those with these labels, and print a table.

    The exit code is 1 where nothing fits, and else 2 where a case cannot be predicted. Raises
    MachineError where the machine is at fault, and HarnessError where nothing can be predicted.
    """
    library()  # without it no case can be predicted
    found: list[PredictionData] = []
    refused: list[RefusedCaseData] = []
    with progress_aside():
        for one in _predictions(cases, labels, paths):
            if isinstance(one, _Refused):
                refused.append(
                    {
                        "case": one.case,
                        "gpu": one.gpu,
                        "devices": one.devices,
                        "message": one.message,
                    }
                )
                say_aside(f"{one.case}: {one.message}")
            else:
                found.append(one)
    say("\n".join(_lines(found, refused)))
    nothing_fits = any(not one["max_batch_size"] for one in found)
    code = 1 if nothing_fits else _TROUBLE if refused else 0
    return Answer(code, predict_document(found, refused=refused))


def _predictions(
    cases: Sequence[Case], labels: Sequence[str], paths: Paths
) -> Iterator[PredictionData | _Refused]:
    with tempfile.TemporaryDirectory() as folder, Simulation() as simulation:
        surroundings = replace(paths.surroundings, directory=Path(folder))
        for case in cases:
            try:
                gpus = gpus_of(case, labels)
            except HarnessError as error:
                yield _Refused(case.id, case.num_ranks, None, str(error))
                continue
            for gpu in gpus:
                try:
                    opened = simulation.open(case, gpu, None, surroundings)
                    with simulation.closed_by_errors():
                        yield prediction_data(case, predict(opened, gpu, with_holders=False))
                except MachineError:
                    raise
                except HarnessError as error:
                    yield _Refused(case.id, case.num_ranks, gpu.label, str(error))


def _lines(found: list[PredictionData], refused: list[RefusedCaseData]) -> Iterator[str]:
    if found:
        torch = ", ".join(sorted({one["made_with"].get("torch", "of a command") for one in found}))
        number = f"{len(found)} prediction{'s' * (len(found) != 1)}"
        yield f"{number} with torch {torch} on simulated GPUs; nothing ran on a GPU"
        yield ""
        yield tabulate([_row(one) for one in found], headers="keys", disable_numparse=True)
    if refused:
        yield ""
        yield f"{len(refused)} could not be predicted:"
    for one in refused:
        on = f" on {one['gpu']}" if one["gpu"] else ""
        yield f"  {one['case']}{on}: {one['message']}"
    for note in dict.fromkeys(note for one in found for note in one["notes"]):
        of = [one["case"] for one in found if note in one["notes"]]
        where = "" if len(of) == len(found) else f" on {', '.join(of)}"
        yield f"note{where}: {note}"


def _row(one: PredictionData) -> dict[str, Any]:
    return {
        "case": one["case"],
        "GPU": one["gpu"],
        "max batch": one["max_batch_size"],
        "safe": one["safe_batch_size"],
        "bounded by": one["bounded_by"],
        "peak": format_bytes(one["peak_memory_bytes"]),
        "limit": format_bytes(one["memory_limit_bytes"]),
    }
