"""Runs the command `gpu-profile`: parses its arguments, resolves paths, and calls a verb."""

from __future__ import annotations

import argparse
import io
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from harness.cli.analyze import DEFAULT_FRACTIONS, DEFAULT_MODES, FORMATS, analyze
from harness.cli.calibrate import calibrate
from harness.cli.check import check
from harness.cli.common import say_aside
from harness.cli.doctor import doctor
from harness.cli.find_paths import find_paths, read_paths, writable_paths
from harness.cli.init import init
from harness.cli.lockfile import diff, merge, prune, show
from harness.cli.predicting.predict import predict
from harness.cli.probe import probe
from harness.cli.simulating.simulate import simulate
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
_CASE = "id, such as resnet18-h200-224"


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
    shown.add_argument("case", metavar="CASE", help=_CASE)
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
    _add_merge(
        add(
            "merge",
            _with(writable_paths, merge),
            "merge the measurements of other machines into the lockfile",
        )
    )
    probed = add(
        "probe", _with(find_paths, probe), "try one batch size of one case and print how it ended"
    )
    probed.add_argument("case", metavar="CASE", help=_CASE)
    probed.add_argument("--batch-size", metavar="N", type=int, required=True)
    _add_analyze(
        add(
            "analyze",
            _with(find_paths, analyze),
            "search for the largest batch of a case at several shares of the memory; lock nothing",
        )
    )
    _add_predict(
        add(
            "predict",
            _with(find_paths, predict),
            "predict the largest batch of a case or of any workload, on GPUs that need not be here",
        )
    )
    _add_simulate(
        add(
            "simulate",
            simulate,
            "run a program, unmodified, under GPUs that are not there, and print its peak memory",
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


def _add_merge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "candidates",
        metavar="CANDIDATE",
        nargs="+",
        type=Path,
        help="candidate.lock of a run, with report.json beside it, or another lockfile",
    )
    parser.add_argument(
        "--base",
        metavar="PATH",
        type=Path,
        help="the lockfile that the candidates were made from; default: the lockfile as it is",
    )


def _add_analyze(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("case", metavar="CASE", help=_CASE)
    parser.add_argument(
        "--fractions",
        metavar="LIST",
        default=DEFAULT_FRACTIONS,
        help=f"shares of the GPU's memory, or of the budget; default: {DEFAULT_FRACTIONS}",
    )
    parser.add_argument(
        "--modes",
        metavar="LIST",
        default=DEFAULT_MODES,
        help=f"train, val for the validation batch, or train,val; default: {DEFAULT_MODES}",
    )
    parser.add_argument(
        "--format", choices=FORMATS, default=FORMATS[0], help=f"default: {FORMATS[0]}"
    )
    parser.add_argument(
        "--gpu", metavar="LABEL", help="predict for a GPU that need not be here, such as H200"
    )


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("case", metavar="CASE", nargs="?", help=_CASE)
    parser.add_argument(
        "--gpu",
        metavar="LABEL",
        action="append",
        help="a GPU, such as H200 or A100-40GB, also several times; default: the case's own",
    )
    parser.add_argument(
        "--resolution",
        metavar="VALUE",
        action="append",
        help="a resolution other than the case's, also several times",
    )
    parser.add_argument(
        "--module",
        metavar="CLASS_PATH",
        help="a module in place of CASE: a class path, or {class_path: ..., init_args: {...}}, "
        "as in the matrix",
    )
    parser.add_argument(
        "--data", metavar="CLASS_PATH", help="the data for --module, in the same form"
    )
    parser.add_argument(
        "--trainer",
        metavar="SETTINGS",
        help="the Trainer's settings for --module, such as {precision: bf16-mixed}",
    )
    parser.add_argument(
        "--what-if",
        action="store_true",
        help="try changes, one at a time, and rank them by the batch that then fits: bf16-mixed, "
        "activation checkpointing, channels_last, another optimizer, half the resolution",
    )
    parser.add_argument(
        "--plot", metavar="PATH", help="draw the memory of a training step over time (PNG)"
    )
    parser.add_argument(
        "--snapshot",
        metavar="PATH",
        help="write the history of its allocations, for https://pytorch.org/memory_viz (pickle)",
    )


def _add_simulate(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "%(prog)s --gpu LABEL [--count N] [--memory SIZE] [--json PATH] [--snapshot PATH] "
        "-- COMMAND ..."
    )
    parser.epilog = "Exit code: the program's, or 128 + N where signal N ended it; 2 if none ran."
    parser.add_argument(
        "--gpu",
        metavar="LABEL",
        required=True,
        help="the GPU, such as H200 or A100-40GB; any name together with --memory",
    )
    parser.add_argument(
        "--count", metavar="N", type=int, default=1, help="how many of them there are; default: 1"
    )
    parser.add_argument(
        "--memory",
        metavar="SIZE",
        help="the memory of each, such as 24GiB; default: that of the GPU",
    )
    parser.add_argument("--json", metavar="PATH", help="also write the peaks as JSON")
    parser.add_argument(
        "--snapshot",
        metavar="PATH",
        help="also write torch's memory snapshot of each process, for pytorch.org/memory_viz",
    )
    # A command without `--` ends here, for a message that tells so.
    parser.add_argument("stray", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def _with(
    find: Callable[[argparse.Namespace], Paths], verb: Callable[[argparse.Namespace, Paths], int]
) -> Callable[[argparse.Namespace], int]:
    """Return the verb as a function of the options alone; `find` finds its paths."""
    return lambda options: verb(options, find(options))
