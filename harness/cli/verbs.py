"""The verbs of the command: what each of them runs, takes, and answers as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.cli.analyze import AnalyzeDocument, analyze
from harness.cli.arguments import (
    add_analyze,
    add_bisect,
    add_case,
    add_check,
    add_comment,
    add_diff,
    add_json,
    add_json_of_program,
    add_merge,
    add_paths,
    add_predict,
    add_probe,
    add_prune,
    add_report,
    add_review,
    add_show,
    add_simulate,
    add_tune,
)
from harness.cli.calibrate import CalibrateDocument, calibrate
from harness.cli.check import CheckDocument, check
from harness.cli.commits.bisect import bisect
from harness.cli.commits.documents import BisectDocument, HistoryDocument
from harness.cli.commits.history import history
from harness.cli.doctor import DoctorDocument, doctor
from harness.cli.find_paths import find_paths, read_paths, writable_paths
from harness.cli.init import InitDocument, init
from harness.cli.lock_documents import DiffDocument, MergeDocument, PruneDocument, ShowDocument
from harness.cli.lockfile import diff, merge, prune, show
from harness.cli.predicting.documents import PredictDocument
from harness.cli.predicting.predict import predict
from harness.cli.probe import ProbeDocument, probe
from harness.cli.reporting.comment import CommentDocument, comment
from harness.cli.reporting.report import ReportDocument, report
from harness.cli.review import ReviewDocument, review
from harness.cli.simulating.documents import SimulateDocument
from harness.cli.simulating.simulate import simulate
from harness.cli.tune import TuneDocument, tune

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from harness.cli.answers.answer import Answer
    from harness.run.paths import Paths


@dataclass(frozen=True)
class Verb:
    """A verb of the command."""

    name: str
    run: Callable[[argparse.Namespace], Answer]
    text: str
    """What it does, for `--help`."""
    arguments: tuple[Callable[[argparse.ArgumentParser], None], ...]
    """Functions that add its arguments to a parser; `add_paths` adds `--matrix` and `--lock`."""
    document: type
    """The TypedDict of its document under `--json`."""
    json: Callable[[argparse.ArgumentParser], None] = add_json


def _with(
    find: Callable[[argparse.Namespace], Paths],
    verb: Callable[[argparse.Namespace, Paths], Answer],
) -> Callable[[argparse.Namespace], Answer]:
    """Return the verb as a function of the options alone; `find` finds its paths."""
    return lambda options: verb(options, find(options))


def _without_paths(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(matrix=None, lock=None)


def _paths_of_check(options: argparse.Namespace) -> Paths:
    """Return paths: without workloads to build, nothing of the checkout need run to find them."""
    return read_paths(options) if options.lock_only else find_paths(options)


VERBS = (
    Verb(
        "init",
        _with(read_paths, init),
        "look at the project here, and write a first matrix, its test module and a CI workflow; "
        "replace no file and run no code",
        (_without_paths,),
        InitDocument,
    ),
    Verb(
        "check",
        _with(_paths_of_check, check),
        "list missing, stale and orphaned profiles; needs no GPU",
        (add_paths, add_check),
        CheckDocument,
    ),
    Verb(
        "doctor",
        doctor,
        "check installation, machine, matrix and lockfile, and say how to mend each; "
        "builds no workload",
        (add_paths,),
        DoctorDocument,
    ),
    Verb(
        "show",
        _with(read_paths, show),
        "print a locked profile, one field of it, or where its memory goes",
        (add_paths, add_show),
        ShowDocument,
    ),
    Verb(
        "history",
        _with(read_paths, history),
        "list the commits that changed a case in the lockfile, and what each of them changed",
        (add_paths, add_case),
        HistoryDocument,
    ),
    Verb(
        "diff",
        diff,
        "print what differs between two lockfiles",
        (add_diff,),
        DiffDocument,
    ),
    Verb(
        "prune",
        _with(writable_paths, prune),
        "remove profiles whose case is not in the matrix",
        (add_paths, add_prune),
        PruneDocument,
    ),
    Verb(
        "merge",
        _with(writable_paths, merge),
        "merge the measurements of other machines into the lockfile",
        (add_paths, add_merge),
        MergeDocument,
    ),
    Verb(
        "review",
        _with(writable_paths, review),
        "show each profile that the last run found beside the locked one, and take or leave it",
        (add_paths, add_review),
        ReviewDocument,
    ),
    Verb(
        "comment",
        _with(read_paths, comment),
        "write the results of a run as a comment under its pull request on GitHub or GitLab, or "
        "replace the earlier one",
        (add_paths, add_comment),
        CommentDocument,
    ),
    Verb(
        "report",
        _with(read_paths, report),
        "make one HTML page of a run's report, with charts, which needs no network to be read; "
        "or print its values for services that follow benchmarks",
        (add_paths, add_report),
        ReportDocument,
    ),
    Verb(
        "probe",
        _with(find_paths, probe),
        "try one batch size of one case and print how it ended",
        (add_paths, add_probe),
        ProbeDocument,
    ),
    Verb(
        "analyze",
        _with(find_paths, analyze),
        "search for the largest batch of a case at several shares of the memory; lock nothing",
        (add_paths, add_analyze),
        AnalyzeDocument,
    ),
    Verb(
        "predict",
        _with(find_paths, predict),
        "predict the largest batch of a case or of any workload, on GPUs that need not be here",
        (add_paths, add_predict),
        PredictDocument,
    ),
    Verb(
        "bisect",
        bisect,
        "predict commits between a good one and a bad one, and name the one that made the largest "
        "batch of a case smaller",
        (add_paths, add_bisect),
        BisectDocument,
    ),
    Verb(
        "simulate",
        simulate,
        "run a program, unmodified, under GPUs that are not there, and print its peak memory",
        (add_simulate,),
        SimulateDocument,
        add_json_of_program,
    ),
    Verb(
        "tune",
        _with(find_paths, tune),
        "find batch size and learning rate of a case or of any workload; lock nothing unless "
        "--lock names a file",
        (add_tune,),
        TuneDocument,
    ),
    Verb(
        "calibrate",
        _with(find_paths, calibrate),
        "verify the facts about this machine's GPU that predictions rely on, "
        "and compare locked predictions with locked measurements",
        (add_paths,),
        CalibrateDocument,
    ),
)
