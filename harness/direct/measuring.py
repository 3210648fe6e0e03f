"""Measures a case that no run has opened, in folders of its own: for scripts and for the command.

Nothing is written into the working directory, and nothing is locked.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING

from harness.bounds.failed_probes import telling_failure
from harness.errors import HarnessError, WorkloadError
from harness.lockfile.profiles import read_lock
from harness.lockfile.write import refuse_read_only
from harness.measure.case import measure_case
from harness.probes.kept_answers import NAME
from harness.probes.open_cases import Surroundings
from harness.probes.outcomes import describe_outcome
from harness.units import format_bytes

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from harness.devices.device import Device
    from harness.matrix.case import Case
    from harness.measurement import Measurement

_PREFIX = "gpu-profile-"
_ERROR_ENDED = "an error ended the search: {}; larger batches may train without it"


class NothingTrainsError(WorkloadError):
    """No batch size trains: the memory, the data or the training itself forbid each."""


def measure(
    case: Case, device: Device, surroundings: Surroundings, *, keeps_files: bool = False
) -> Measurement:
    """Measure a case as if nothing were locked.

    keeps_files: whether the folder of results stays, so that its files may be named.

    Raises the errors of `measure_case`. That no batch size trains is part of the measurement.
    """
    answers = surroundings.directory / case.id / NAME
    answers.unlink(missing_ok=True)  # of an earlier call: no digest tells whether objects changed
    try:
        found = measure_case(case, device, None, surroundings)
    finally:
        answers.unlink(missing_ok=True)
    failed = telling_failure(found) if found.bounded_by == "error" else None
    if failed is not None and found.max_batch_size:
        warning = _ERROR_ENDED.format(describe_outcome(failed))
        found = replace(found, warnings=(warning, *found.warnings))
    return found if keeps_files else replace(found, artifacts=())


def refuse_nothing(case: Case, found: Measurement) -> None:
    """Raise NothingTrainsError, with a traceback where there is one, if no batch size trains."""
    if found.max_batch_size:
        return
    shown = telling_failure(found)
    limit = format_bytes(found.memory_limit_bytes)
    what = f": {describe_outcome(shown)}" if shown else ""
    raise NothingTrainsError(
        f"{case.model} on {case.gpu}: no batch size trains in {limit}{what}",
        (shown.traceback or "") if shown and shown.outcome == "error" else "",
        log=shown.log if shown else None,
    )


def refuse_unusable_lock(path: str | os.PathLike[str]) -> None:
    """Raise LockError where a lockfile is damaged, or cannot be written: before hours of probes."""
    refuse_read_only(Path(path))
    read_lock(Path(path))


@contextmanager
def results_folder(logs: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Make the folder of the logs of probes; yield its path.

    logs: a folder of the caller's, which stays; None: a temporary one, which goes at the end. After
    an error of a probe it stays, and a note of the exception names it.

    Raises HarnessError when the folder cannot be made.
    """
    if logs is not None:
        folder = Path(logs).absolute()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HarnessError(f"logs={str(logs)!r}: no folder can be there: {error}") from error
        yield folder
        return
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        yield folder
    except HarnessError as error:
        if any(folder.rglob("*.log")):
            error.add_note(f"The output of its processes is in {folder}")
        else:
            rmtree(folder, ignore_errors=True)
        raise
    except BaseException:
        rmtree(folder, ignore_errors=True)
        raise
    rmtree(folder, ignore_errors=True)


@contextmanager
def with_traceback() -> Iterator[None]:
    """Add the traceback of the user's code to an error that passes, as a note of the exception."""
    try:
        yield
    except WorkloadError as error:
        if error.detail:
            error.add_note(error.detail)
        raise


@contextmanager
def objects_folder() -> Iterator[Path]:
    """Make a temporary folder for a caller's objects; yield its path."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
        yield Path(folder)


def surroundings_of(results: Path, objects: Path | None = None) -> Surroundings:
    """Return this process's working directory and module path, with these folders."""
    first = () if objects is None else (str(objects),)
    return Surroundings(results, Path.cwd(), (*first, *sys.path))
