"""The verb `gpu-profile analyze`: prints the largest batch per share of the memory."""

from __future__ import annotations

import csv
import io
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tabulate import tabulate
from typing_extensions import TypedDict

from harness.batch_search.curve import MODES, CurveMode, search_curve
from harness.batch_search.histories import recorded_histories
from harness.cli.answers.answer import Answer, keep_found
from harness.cli.common import find_case, progress_aside, say, say_aside
from harness.device_identity import DeviceIdentity
from harness.devices.finding import find_device
from harness.errors import HarnessError, WorkloadError
from harness.measurement import BoundedBy, Source
from harness.predict.gpus import by_label
from harness.predict.prediction import refuse_unpredictable
from harness.predict.simulation import Simulation
from harness.probes.open_cases import open_case
from harness.probes.outcomes import describe_outcome
from harness.run.results import Results
from harness.units import format_bytes, parse_percent
from harness.wording import listed

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator

    from harness.batch_search.curve import CurvePoint
    from harness.batch_search.histories import Histories
    from harness.matrix.case import Case
    from harness.probes.open_cases import OpenCase
    from harness.run.paths import Paths

FORMATS = ("table", "csv")
DEFAULT_FRACTIONS = "0.6,0.7,0.8,0.9"
DEFAULT_MODES = "train"
_LARGEST_FRACTION = 0.98


class AnalyzePoint(TypedDict):
    """The largest batch at one share of the memory."""

    mode: CurveMode
    """`val`: the validation batch."""
    fraction: float
    memory_limit_bytes: int
    max_batch_size: int
    """0 where nothing fits."""
    bounded_by: BoundedBy
    peak_memory_bytes: int | None
    """At `max_batch_size`."""
    num_probes: int


class AnalyzeDocument(TypedDict):
    """The answer of `analyze`."""

    case: str
    device: DeviceIdentity
    source: Source
    points: list[AnalyzePoint]


COLUMNS = ("case", "device_name", "source", *AnalyzePoint.__annotations__)
"""The columns of CSV; they keep their meaning, and others may follow."""


class _Opened(NamedTuple):
    opened: OpenCase
    histories: Histories
    device: DeviceIdentity
    source: Source


def analyze(options: argparse.Namespace, paths: Paths) -> Answer:
    """Search at each fraction, print what was found, and lock nothing.

    After Ctrl-C and after trouble on the way, print what was found by then.
    """
    fractions, modes = _fractions(options.fractions), _modes(options.modes)
    case = find_case(options.case, paths)
    # The other modes of a search end on sizes whose neighbour nobody has tried.
    case = replace(case, search=case.search.model_copy(update={"mode": "exact"}))
    points: list[CurvePoint] = []
    where: _Opened | None = None

    def told() -> AnalyzeDocument | None:
        if not points or where is None:
            return None
        points.sort(key=lambda one: (modes.index(one.mode), fractions.index(one.fraction)))
        document = _document(case, where, points)
        say(_PRINTED[options.format](document).rstrip("\n"))
        return document

    try:
        with progress_aside(), _open(case, options.gpu, max(fractions), paths) as where:
            if "val" in modes:
                _refuse_without_validation(where.opened, options.modes)
            for point in search_curve(where.opened, where.histories, fractions, modes):
                points.append(point)
                _look_at(point, where)
    except BaseException as error:
        if isinstance(error, WorkloadError):
            say_aside(error.detail)
        if (found := told()) is not None:
            keep_found(error, found)
        raise
    document = told()
    assert document is not None, "each fraction has a point"
    return Answer(int(any(not point.found.max_batch_size for point in points)), document)


@contextmanager
def _open(case: Case, label: str | None, fraction: float, paths: Paths) -> Iterator[_Opened]:
    """Open a case on its own device, or on a simulated GPU."""
    if label is not None:
        gpu = by_label(label)
        with tempfile.TemporaryDirectory() as scratch, Simulation() as simulation:
            surroundings = replace(paths.surroundings, directory=Path(scratch))
            simulated = simulation.open(case, gpu, None, surroundings)
            identity = DeviceIdentity(gpu.name, gpu.nvml_bytes)
            yield _Opened(simulated.opened, simulated.histories, identity, "predicted")
        return
    device = find_device(case.device, fraction, count=case.num_ranks)
    # A separate folder: the logs of the case's last run stay as they are.
    folder = Results(paths.results).beside("analyze", case.id)
    surroundings = replace(paths.surroundings, directory=folder)
    with device.hold(), open_case(case, device, None, surroundings) as opened:
        allow = case.search.allow_thrashing
        with recorded_histories(opened.runner, allow_thrashing=allow) as histories:
            yield _Opened(opened, histories, device.identity, "measured")


def _refuse_without_validation(opened: OpenCase, modes: str) -> None:
    if not opened.description.validation:
        raise HarnessError(f"--modes {modes}: {opened.case.id} does not validate; allowed: train")


def _look_at(point: CurvePoint, where: _Opened) -> None:
    """Tell why nothing fits; raise where it is not for memory that a prediction finds nothing."""
    if where.source == "predicted":
        refuse_unpredictable(point.found)
    if point.found.max_batch_size or not point.found.probes:
        return
    smallest = min(point.found.probes, key=lambda probe: probe.batch_size)
    say_aside(f"{point.mode} at {point.fraction:g}: nothing fits: {describe_outcome(smallest)}")


def _document(case: Case, where: _Opened, points: Iterable[CurvePoint]) -> AnalyzeDocument:
    return {
        "case": case.id,
        "device": where.device,
        "source": where.source,
        "points": [
            {
                "mode": point.mode,
                "fraction": point.fraction,
                "memory_limit_bytes": point.memory_limit_bytes,
                "max_batch_size": point.found.max_batch_size,
                "bounded_by": point.found.bounded_by,
                "peak_memory_bytes": best.peak_memory_bytes if (best := point.found.best) else None,
                "num_probes": len(point.found.probes),
            }
            for point in points
        ],
    }


def _table(document: AnalyzeDocument) -> str:
    device, points = document["device"], document["points"]
    kind = (
        f"predicted for {device.name}; nothing ran on a GPU"
        if document["source"] == "predicted"
        else f"measured on {device.name}"
    )
    shown = [
        {
            "mode": point["mode"],
            "fraction": f"{point['fraction']:g}",
            "limit": format_bytes(point["memory_limit_bytes"]),
            "max batch": point["max_batch_size"],
            "bounded by": point["bounded_by"],
            "peak": _bytes(point["peak_memory_bytes"]),
            "probes": point["num_probes"],
        }
        for point in points
    ]
    number = sum(point["num_probes"] for point in points)
    return (
        f"{document['case']}, {kind}\n\n"
        f"{tabulate(shown, headers='keys', disable_numparse=True)}\n\n"
        f"{number} probes in all"
    )


def _csv(document: AnalyzeDocument) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    first = (document["case"], document["device"].name, document["source"])
    for point in document["points"]:
        writer.writerow(dict(zip(COLUMNS, (*first, *point.values()), strict=True)))
    return text.getvalue()


_PRINTED: dict[str, Callable[[AnalyzeDocument], str]] = {"table": _table, "csv": _csv}


def _bytes(number: int | None) -> str:
    return "-" if number is None else format_bytes(number)


def _fractions(text: str) -> list[float]:
    """Read `0.6,0.8,0.9`, in which each number may be a percentage."""
    fractions: list[float] = []
    for part in text.split(","):
        try:
            fraction = parse_percent(part.strip() if "%" in part else float(part))
        except ValueError:
            fraction = 0.0
        if not 0 < fraction <= _LARGEST_FRACTION:
            raise HarnessError(
                f"--fractions {text}: {part.strip() or 'nothing'} is not allowed; fractions above "
                f"0 and up to {_LARGEST_FRACTION} with commas between them, such as "
                f"{DEFAULT_FRACTIONS}"
            )
        if fraction in fractions:
            raise HarnessError(f"--fractions {text}: {part.strip()} stands there twice")
        fractions.append(fraction)
    return fractions


def _modes(text: str) -> list[CurveMode]:
    """Read `train,val`."""
    modes: list[CurveMode] = []
    for part in text.split(","):
        mode = next((one for one in MODES if one == part.strip()), None)
        if mode is None:
            raise HarnessError(
                f"--modes {text}: {part.strip() or 'nothing'} is not allowed; "
                f"{listed(MODES)} with a comma between them"
            )
        if mode in modes:
            raise HarnessError(f"--modes {text}: {mode} stands there twice")
        modes.append(mode)
    return modes
