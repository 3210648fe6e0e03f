"""Keeps what a case has found while it is measured, for the reports of a run that is interrupted.

The file is in the case's folder, where the controller of xdist's workers finds it. It goes once the
case is measured. The next run goes on from the answers of probes (`harness.probes.kept_answers`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.files import replacing
from harness.measurement import Measurement

if TYPE_CHECKING:
    from pathlib import Path

    from harness.probes.open_cases import OpenCase

FOUND_NAME = "found.json"
SOAK = "the soak"
"""Until its end nothing is found: `soak_steps` are asked for."""
TIMING = "the timing of batch sizes"
"""Until its end it is not known which batch size is tuned."""

# A measurement before its sweeps has some kB, and a prediction of a large model some 100 kB.
_MAX_BYTES = 16 << 20


@dataclass(frozen=True)
class Found:
    """What a case had found when its run was interrupted."""

    measurement: Measurement
    during: str
    """What was being done: `the soak`, `the LR range test`."""
    run: str
    """The id of the run."""


def keep(opened: OpenCase, measurement: Measurement, during: str) -> None:
    """Write what was found before something that takes long begins."""
    kept = {"run": opened.surroundings.run, "during": during, "measurement": measurement.to_json()}
    with replacing(_path(opened)) as temporary:
        temporary.write_text(json.dumps(kept) + "\n", encoding="utf-8")


def forget(opened: OpenCase) -> None:
    """Remove the file of a case that is measured."""
    _path(opened).unlink(missing_ok=True)


def read_found(path: Path) -> Found | None:
    """Return what an interrupted run left; None where there is nothing, or nothing of use.

    Anybody may have put the file there.
    """
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        kept: Any = json.loads(data) if len(data) <= _MAX_BYTES else None
        found = Found(
            Measurement.from_json(kept["measurement"]), str(kept["during"]), str(kept["run"])
        )
        return found if _is_plausible(found.measurement) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _path(opened: OpenCase) -> Path:
    return opened.surroundings.directory / opened.case.id / FOUND_NAME


def _is_plausible(measurement: Measurement) -> bool:
    """Return whether reports can show the batch size."""
    sizes = (measurement.max_batch_size, measurement.batch_size)
    return all(type(size) is int and size > 0 for size in sizes)
