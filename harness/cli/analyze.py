"""The verb `gpu-profile analyze`: prints the largest batch per share of the memory."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tabulate import tabulate

from harness.batch_search.curve import MODES, search_curve
from harness.batch_search.histories import recorded_histories
from harness.cli.common import find_case, progress_aside, say, say_aside
from harness.devices.finding import find_device
from harness.errors import HarnessError, WorkloadError
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
    from collections.abc import Callable, Iterator

    from harness.batch_search.curve import CurveMode, CurvePoint
    from harness.batch_search.histories import Histories
    from harness.matrix.case import Case
    from harness.probes.open_cases import OpenCase
    from harness.run.paths import Paths

FORMATS = ("table", "json", "csv")
DEFAULT_FRACTIONS = "0.6,0.7,0.8,0.9"
DEFAULT_MODES = "train"
KEYS = (
    "case",
    "device",
    "source",
    "mode",
    "fraction",
    "memory_limit_bytes",
    "max_batch_size",
    "bounded_by",
    "peak_memory_bytes",
    "probes",
)
"""The keys of JSON and CSV; they keep their meaning, and others may follow."""

_LARGEST_FRACTION = 0.98


class _Opened(NamedTuple):
    opened: OpenCase
    histories: Histories
    device: str
    """Its product name, or `cpu`."""
    predicted: bool


def analyze(options: argparse.Namespace, paths: Paths) -> int:
    """Search at each fraction, print what was found, and lock nothing.

    After Ctrl-C and after trouble on the way, print what was found by then.
    """
    fractions, modes = _fractions(options.fractions), _modes(options.modes)
    case = find_case(options.case, paths)
    # The other modes of a search end on sizes whose neighbour nobody has tried.
    case = replace(case, search=case.search.model_copy(update={"mode": "exact"}))
    points: list[CurvePoint] = []
    where: _Opened | None = None
    try:
        with progress_aside(), _open(case, options.gpu, max(fractions), paths) as where:
            if "val" in modes and not where.opened.description.validation:
                raise HarnessError(
                    f"--modes {options.modes}: {case.id} does not validate; allowed: train"
                )
            for point in search_curve(where.opened, where.histories, fractions, modes):
                points.append(point)
                _look_at(point, where)
    except WorkloadError as error:
        say_aside(error.detail)
        raise
    finally:
        if points and where is not None:
            points.sort(key=lambda one: (modes.index(one.mode), fractions.index(one.fraction)))
            rows = [_row(case, where, point) for point in points]
            say(_PRINTED[options.format](rows).rstrip("\n"))
    return int(any(not point.found.max_batch_size for point in points))


@contextmanager
def _open(case: Case, label: str | None, fraction: float, paths: Paths) -> Iterator[_Opened]:
    """Open a case on its own device, or on a simulated GPU."""
    if label is not None:
        gpu = by_label(label)
        with tempfile.TemporaryDirectory() as scratch, Simulation() as simulation:
            surroundings = replace(paths.surroundings, directory=Path(scratch))
            simulated = simulation.open(case, gpu, None, surroundings)
            yield _Opened(simulated.opened, simulated.histories, gpu.name, predicted=True)
        return
    device = find_device(case.device, fraction)
    # A separate folder: the logs of the case's last run stay as they are.
    folder = Results(paths.results).beside("analyze", case.id)
    surroundings = replace(paths.surroundings, directory=folder)
    with device.hold(), open_case(case, device, None, surroundings) as opened:
        allow = case.search.allow_thrashing
        with recorded_histories(opened.runner, allow_thrashing=allow) as histories:
            yield _Opened(opened, histories, device.identity.name, predicted=False)


def _look_at(point: CurvePoint, where: _Opened) -> None:
    """Tell why nothing fits; raise where it is not for memory that a prediction finds nothing."""
    if where.predicted:
        refuse_unpredictable(point.found)
    if point.found.max_batch_size or not point.found.probes:
        return
    smallest = min(point.found.probes, key=lambda probe: probe.batch_size)
    say_aside(f"{point.mode} at {point.fraction:g}: nothing fits: {describe_outcome(smallest)}")


def _row(case: Case, where: _Opened, point: CurvePoint) -> dict[str, Any]:
    best = point.found.best
    values = (
        case.id,
        where.device,
        "predicted" if where.predicted else "measured",
        point.mode,
        point.fraction,
        point.memory_limit_bytes,
        point.found.max_batch_size,
        point.found.bounded_by,
        None if best is None else best.peak_memory_bytes,
        len(point.found.probes),
    )
    return dict(zip(KEYS, values, strict=True))


def _table(rows: list[dict[str, Any]]) -> str:
    first = rows[0]
    kind = (
        f"predicted for {first['device']}; nothing ran on a GPU"
        if first["source"] == "predicted"
        else f"measured on {first['device']}"
    )
    shown = [
        {
            "mode": row["mode"],
            "fraction": f"{row['fraction']:g}",
            "limit": format_bytes(row["memory_limit_bytes"]),
            "max batch": row["max_batch_size"],
            "bounded by": row["bounded_by"],
            "peak": _bytes(row["peak_memory_bytes"]),
            "probes": row["probes"],
        }
        for row in rows
    ]
    number = sum(row["probes"] for row in rows)
    return (
        f"{first['case']}, {kind}\n\n{tabulate(shown, headers='keys', disable_numparse=True)}\n\n"
        f"{number} probes in all"
    )


def _json(rows: list[dict[str, Any]]) -> str:
    return json.dumps(rows, indent=2)


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, KEYS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


_PRINTED: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "table": _table,
    "json": _json,
    "csv": _csv,
}


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
