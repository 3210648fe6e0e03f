"""The verb `gpu-profile tune`: finds batch size and learning rate, and locks them only if asked."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

from harness.cli.answers.answer import Answer
from harness.cli.common import find_case, progress_aside, say, say_aside
from harness.cli.yaml_arguments import (
    cases_with,
    entries_of,
    merged,
    read_argument,
    read_settings,
    read_spec,
)
from harness.direct.arguments import direct_case
from harness.direct.gpu_argument import AskedGpu, asked_gpu
from harness.direct.measuring import (
    NothingTrainsError,
    measure,
    objects_folder,
    refuse_nothing,
    refuse_unusable_lock,
    results_folder,
)
from harness.direct.objects import Objects
from harness.direct.tune import device_of
from harness.direct.tuned import Tuned
from harness.errors import HarnessError, WorkloadError
from harness.matrix.without_file import OVERRIDES
from harness.report.case_result import CaseResult
from harness.report.documents import ReportedCase
from harness.report.json_report import reported_case
from harness.wording import shown_path, typed_path

if TYPE_CHECKING:
    import argparse

    from harness.matrix.case import Case
    from harness.measurement import Measurement
    from harness.run.paths import Paths

_WORKLOAD = ("module", "data", "training")


class TuneDocument(TypedDict):
    """The answer of `tune`."""

    case: ReportedCase
    locked_in: str | None
    """The lockfile that `--lock` names, where the values are now."""


def tune(options: argparse.Namespace, paths: Paths) -> Answer:
    """Measure a case of the matrix, or a workload of the command line, as if nothing were locked.

    Print what was found. Write it into the lockfile that `--lock` names, if it does.
    """
    if options.lock is not None:
        refuse_unusable_lock(paths.lock)
    case, asked = _asked(options, paths)
    device = device_of(case, asked)
    found: Measurement | None = None
    try:
        with results_folder(None) as results:
            around = replace(paths.surroundings, directory=results)
            with progress_aside(verbose=True, prefix=f"{case.id}: "):
                found = measure(case, device, around)
            refuse_nothing(case, found)
    except NothingTrainsError as error:
        _tell(error)
        assert found is not None, "that nothing trains is judged of what was found"
        say_aside(f"gpu-profile: {error}")
        return Answer(1, _document(case, found))
    except HarnessError as error:
        _tell(error)
        raise
    tuned = Tuned.of(found)
    say(str(tuned))
    document = _document(case, found)
    if options.lock is not None:
        tuned.lock(paths.lock)
        document["locked_in"] = typed_path(paths.lock)
        say_aside(f"locked {tuned.case_id} in {shown_path(paths.lock)}")
    return Answer(0, document)


def _asked(options: argparse.Namespace, paths: Paths) -> tuple[Case, AskedGpu]:
    """Return the case of the arguments, and the device that they ask for."""
    named = {name: text for name in _WORKLOAD if (text := getattr(options, name)) is not None}
    if (options.case is None) == (not named):
        raise HarnessError(
            "name either a CASE of the matrix, or a workload with --module and --data, or with "
            "--training"
        )
    settings = read_settings(options.set or ())
    gpu = None if options.gpu is None else read_argument("--gpu", options.gpu)
    if options.case is not None:
        return _of_matrix(find_case(options.case, paths), gpu, settings, paths)
    specs = {name: read_spec(f"--{name}", text) for name, text in named.items()}
    asked = asked_gpu(gpu)
    with objects_folder() as folder:  # stays empty: a command line has no objects
        arguments = merged(specs, settings)
        case = direct_case(arguments, asked, Objects(folder), [os.getcwd(), *paths.module_path])  # noqa: PTH109 - str
    return case, asked


def _of_matrix(
    case: Case, gpu: Any, settings: dict[str, Any], paths: Paths
) -> tuple[Case, AskedGpu]:
    """Return a case of the matrix with these settings over it, and on another device if asked."""
    model, entry = entries_of(case, paths)
    if gpu is None:
        asked = AskedGpu(case.gpu, entry)
    else:
        asked = asked_gpu(gpu)
        # What the matrix sets for the case's own device is of no other.
        entry = dict(asked.entry)
    # A GPU overrides its model, so settings for all of a case stand there.
    over = {name: value for name, value in settings.items() if name in OVERRIDES}
    own = {name: value for name, value in settings.items() if name not in OVERRIDES}
    (changed,) = cases_with(
        case,
        paths,
        axes={"gpu": [asked.label]},
        model=merged(model, own),
        gpu=merged(entry, over),
    )
    return changed, asked


def _tell(error: HarnessError) -> None:
    """Print the user's traceback, and where the logs are."""
    if isinstance(error, WorkloadError) and error.detail:
        say_aside(error.detail)
    for note in getattr(error, "__notes__", ()):
        say_aside(note)


def _document(case: Case, found: Measurement) -> TuneDocument:
    result = CaseResult(
        case_id=case.id,
        axes=case.axes,
        status="passed" if found.max_batch_size else "failed",
        measurement=found,
        seconds=found.seconds,
    )
    return {"case": reported_case(result), "locked_in": None}
