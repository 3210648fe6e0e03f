"""Measures one case on a node of the cluster, as `Session.measure` does on the run's own machine.

This module runs in a process of the cluster, in a copy of the project.
"""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError, MachineError, OutOfTimeError
from harness.fleet import answers
from harness.fleet.packing import MAX_FILE_BYTES, pack
from harness.lockfile.profiles import Lock
from harness.measure.measuring import Measuring
from harness.measure.so_far import FOUND_NAME
from harness.probes import kept_answers
from harness.probes.open_cases import Surroundings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.fleet.job import Job
    from harness.lockfile.profiles import LockedProfile
    from harness.matrix.case import Case
    from harness.measurement import Measurement

# What an interrupted run leaves for the next one, which may be on another node.
_NOT_SENT = (kept_answers.NAME, FOUND_NAME)


def measure(case: Case, profiles: Sequence[LockedProfile], job: Job) -> Iterator[bytes]:
    """Measure a case; yield the answer, and then the case's files.

    Two messages: the first is small, so it has arrived when the node is lost in the second.
    """
    copy = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="gpu-profile-") as name:
        results = Path(name).resolve()
        paths = {str(results): str(job.results), str(copy): str(job.root)}
        folder = results / case.id
        folder.mkdir()
        try:
            measurement = _measure(case, profiles, job, Surroundings(results, copy, (*sys.path,)))
            files, stay = pack(folder, _NOT_SENT)
            if stay:
                measurement = _with_note(measurement, stay)
            yield answers.of_measurement(measurement, paths)
        except HarnessError as error:
            files, _ = pack(folder, _NOT_SENT)
            yield answers.of_error(error, paths)
        yield files


def _measure(
    case: Case, profiles: Sequence[LockedProfile], job: Job, around: Surroundings
) -> Measurement:
    around = job.surroundings(around, around.working_directory)
    if job.until is not None:
        left = job.until - time.time()
        if left <= 0:
            raise OutOfTimeError("the time budget was used up before a node was free")
        around = replace(around, deadline=time.monotonic() + left)
    procedure = Measuring(job.memory_wait, job.lock_wait)
    lock = Lock(Path("gpu-profile.lock"), tuple(profiles), exists=True)
    try:
        found = procedure.find(case, lock)
        return found.run(lock.find(case.axes, found.identity), around)
    except HarnessError:
        raise
    except OSError as error:
        raise MachineError(f"{case.id} cannot be measured: {error}") from error
    except Exception as error:
        raise MachineError(
            f"{case.id} cannot be measured: {type(error).__name__}: {error}\n"
            f"{''.join(traceback.format_exception(error))}"
        ) from error
    finally:
        procedure.close()


def _with_note(measurement: Measurement, stay: Sequence[str]) -> Measurement:
    note = f"not brought from the node, because larger than {MAX_FILE_BYTES >> 20} MiB: "
    return replace(measurement, warnings=(*measurement.warnings, note + ", ".join(stay)))
