"""Runs the command `gpu-profile`: parses its arguments, resolves paths, and calls a verb."""

from __future__ import annotations

import argparse
import io
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from harness.cli.analyze import analyze
from harness.cli.arguments import (
    CASE,
    add_analyze,
    add_merge,
    add_predict,
    add_simulate,
    add_tune,
)
from harness.cli.calibrate import calibrate
from harness.cli.check import check
from harness.cli.common import say_aside
from harness.cli.doctor import doctor
from harness.cli.find_paths import find_paths, read_paths, writable_paths
from harness.cli.init import init
from harness.cli.lockfile import diff, merge, prune, show
from harness.cli.predicting.predict import predict
from harness.cli.probe import probe
from harness.cli.review import review
from harness.cli.simulating.simulate import simulate
from harness.cli.tune import tune
from harness.errors import HarnessError
from harness.visible import ESCAPING, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.run.paths import Paths

_TROUBLE = 2
_INTERRUPTED = 130
_EPILOG = (
    "Exit code: 0 all is well, 1 something differs or does not fit, 2 the question has no answer."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code.

    0 when all is well; 1 when something differs or a probe does not fit; 2 when there is no answer:
    wrong input, a device that is not here, a workload that cannot be built; 130 after Ctrl-C. That
    of `simulate` is its program's.
    """
    for stream in (sys.stdout, sys.stderr):
        # Names and messages may hold what a terminal's encoding does not have.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ESCAPING)
    given = list(sys.argv[1:] if arguments is None else arguments)
    command: list[str] | None = None
    if given[:1] == ["simulate"] and "--" in given:
        # Before argparse sees it: whatever stands behind is the program's.
        place = given.index("--")
        given, command = given[:place], given[place + 1 :]
    options = _parser().parse_args(given)
    options.command = command
    verb: Callable[[argparse.Namespace], int] = options.run
    try:
        code = verb(options)
        if sys.stdout is not None:  # `>&-`
            sys.stdout.flush()
    except BrokenPipeError:  # `gpu-profile diff OLD NEW | head`
        # Python flushes once more at its end, which would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        say_aside("gpu-profile: interrupted")
        return _INTERRUPTED
    except (HarnessError, OSError) as error:
        separator = "\n" if "\n" in str(error) else " "
        say_aside(f"gpu-profile:{separator}{error}")
        return _TROUBLE
    return code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Tell a wrong argument and end: it may be the name of a file that others have chosen."""
        super().error(visible(message))


def _parser() -> argparse.ArgumentParser:
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "--matrix",
        metavar="PATH",
        help="default: that of a pytest run here, usually profiles/matrix.yaml",
    )
    where.add_argument(
        "--lock",
        metavar="PATH",
        help="default: that of a pytest run here, usually gpu-profile.lock beside the matrix",
    )
    parser: argparse.ArgumentParser = _Parser(
        prog="gpu-profile",
        description="Answer questions about matrix and lockfile outside pytest.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--version", action="version", version=metadata.version("pytest-gpu-profile")
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def add(
        name: str,
        run: Callable[[argparse.Namespace], int],
        text: str,
        parents: Sequence[argparse.ArgumentParser] = (where,),
    ) -> argparse.ArgumentParser:
        added = verbs.add_parser(
            name,
            parents=parents,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=_EPILOG,
        )
        added.set_defaults(run=run)
        return added

    add(
        "init",
        _with(read_paths, init),
        "look at the project here, and write a first matrix, its test module and a CI workflow; "
        "replace no file and run no code",
        parents=(),
    ).set_defaults(matrix=None, lock=None)
    add(
        "check", _with(find_paths, check), "list missing, stale and orphaned profiles; needs no GPU"
    )
    add(
        "doctor",
        doctor,
        "check installation, machine, matrix and lockfile, and say how to mend each; "
        "builds no workload",
    )
    shown = add("show", _with(read_paths, show), "print a locked profile, or one field of it")
    shown.add_argument("case", metavar="CASE", help=CASE)
    shown.add_argument(
        "--field",
        metavar="NAME",
        help="print this value alone, for scripts: batch_size, device.name",
    )
    compared = add("diff", diff, "print what differs between two lockfiles", parents=())
    compared.add_argument("old", metavar="OLD", type=Path)
    compared.add_argument("new", metavar="NEW", type=Path)
    pruned = add(
        "prune", _with(writable_paths, prune), "remove profiles whose case is not in the matrix"
    )
    pruned.add_argument("--dry-run", action="store_true", help="only print them")
    add_merge(
        add(
            "merge",
            _with(writable_paths, merge),
            "merge the measurements of other machines into the lockfile",
        )
    )
    add(
        "review",
        _with(writable_paths, review),
        "show each profile that the last run found beside the locked one, and take or leave it",
    ).add_argument(
        "candidate",
        metavar="CANDIDATE",
        type=Path,
        nargs="?",
        help="default: candidate.lock in the folder of results of a pytest run here",
    )
    probed = add(
        "probe", _with(find_paths, probe), "try one batch size of one case and print how it ended"
    )
    probed.add_argument("case", metavar="CASE", help=CASE)
    probed.add_argument("--batch-size", metavar="N", type=int, required=True)
    add_analyze(
        add(
            "analyze",
            _with(find_paths, analyze),
            "search for the largest batch of a case at several shares of the memory; lock nothing",
        )
    )
    add_predict(
        add(
            "predict",
            _with(find_paths, predict),
            "predict the largest batch of a case or of any workload, on GPUs that need not be here",
        )
    )
    add_simulate(
        add(
            "simulate",
            simulate,
            "run a program, unmodified, under GPUs that are not there, and print its peak memory",
            parents=(),
        )
    )
    add_tune(
        add(
            "tune",
            _with(find_paths, tune),
            "find batch size and learning rate of a case or of any workload; lock nothing unless "
            "--lock names a file",
            parents=(),
        )
    )
    add(
        "calibrate",
        _with(find_paths, calibrate),
        "verify the facts about this machine's GPU that predictions rely on, "
        "and compare locked predictions with locked measurements",
    )
    return parser


def _with(
    find: Callable[[argparse.Namespace], Paths], verb: Callable[[argparse.Namespace, Paths], int]
) -> Callable[[argparse.Namespace], int]:
    """Return the verb as a function of the options alone; `find` finds its paths."""
    return lambda options: verb(options, find(options))
