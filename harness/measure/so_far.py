"""Keeps what a case has found while it is measured: its run may be interrupted.

The file is in the case's folder, so that it also outlives a killed process. It goes once the case
is measured.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.files import replacing
from harness.measurement import Measurement

if TYPE_CHECKING:
    from pathlib import Path

    from harness.measurement import DeviceIdentity
    from harness.probes.open_cases import OpenCase

FOUND_NAME = "found.json"
SOAK = "the soak"
"""Until its end the batch size is only where a search starts: `soak_steps` are asked for."""

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
    """Remove the file of a case that is measured: the lock is where the next search starts."""
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


def earlier(opened: OpenCase, recipe: str) -> Measurement | None:
    """Return what an interrupted run found for the same workload, recipe and device."""
    found = read_found(_path(opened))
    if found is None:
        return None
    then, device = found.measurement, opened.runner.device.identity
    same = (opened.description.fingerprint, recipe) == (then.fingerprint, then.recipe)
    return then if same and _same_device(then.device, device) else None


def _path(opened: OpenCase) -> Path:
    return opened.surroundings.directory / opened.case.id / FOUND_NAME


def _same_device(then: DeviceIdentity, now: DeviceIdentity) -> bool:
    return type(then.memory_bytes) is int and type(then.name) is str and then.matches(now)


def _is_plausible(measurement: Measurement) -> bool:
    """Return whether a search can start at the batch size, and reports can show it."""
    sizes = (measurement.max_batch_size, measurement.batch_size)
    return all(type(size) is int and size > 0 for size in sizes)
