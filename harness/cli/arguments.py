"""The arguments of the verbs."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.benchmark_formats import FORMATS as BENCHMARK_FORMATS
from harness.cli.analyze import DEFAULT_FRACTIONS, DEFAULT_MODES, FORMATS
from harness.matrix.ranks import MOST_DEVICES

CASE = "id, such as resnet18-h200-224"


def add_paths(parser: argparse.ArgumentParser) -> None:
    """Add the paths of matrix and lockfile."""
    parser.add_argument(
        "--matrix",
        metavar="PATH",
        help="default: that of a pytest run here, usually profiles/matrix.yaml",
    )
    parser.add_argument(
        "--lock",
        metavar="PATH",
        help="default: that of a pytest run here, usually gpu-profile.lock beside the matrix",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document, and nothing else"
    )


def add_json_of_program(parser: argparse.ArgumentParser) -> None:
    """Add `--json [PATH]` of a verb whose standard output is a program's."""
    parser.add_argument(
        "--json",
        metavar="PATH",
        nargs="?",
        const=True,
        help="also write the peaks as JSON; without PATH print them, and nothing else, on standard "
        "output: what the program prints goes to standard error",
    )


def add_case(parser: argparse.ArgumentParser) -> None:
    """Add the case of a verb that takes nothing else."""
    parser.add_argument("case", metavar="CASE", help=CASE)


def add_check(parser: argparse.ArgumentParser) -> None:
    """Add what `check` takes."""
    parser.add_argument(
        "--lock-only",
        action="store_true",
        help="only read the lockfile, and neither the matrix nor any code",
    )


def add_show(parser: argparse.ArgumentParser) -> None:
    """Add what `show` takes."""
    parser.add_argument("case", metavar="CASE", help=CASE)
    printed = parser.add_mutually_exclusive_group()
    printed.add_argument(
        "--field",
        metavar="NAME",
        help="print this value alone, for scripts: batch_size, device.name",
    )
    printed.add_argument(
        "--memory",
        action="store_true",
        help="print where the memory goes at the peak: by kind, by module, and for each sample",
    )


def add_diff(parser: argparse.ArgumentParser) -> None:
    """Add what `diff` takes."""
    parser.add_argument("old", metavar="OLD", type=Path)
    parser.add_argument("new", metavar="NEW", type=Path)


def add_prune(parser: argparse.ArgumentParser) -> None:
    """Add what `prune` takes."""
    parser.add_argument("--dry-run", action="store_true", help="only print them")


def add_review(parser: argparse.ArgumentParser) -> None:
    """Add what `review` takes."""
    parser.add_argument(
        "candidate",
        metavar="CANDIDATE",
        type=Path,
        nargs="?",
        help="default: candidate.lock in the folder of results of a pytest run here",
    )


def add_probe(parser: argparse.ArgumentParser) -> None:
    """Add what `probe` takes."""
    parser.add_argument("case", metavar="CASE", help=CASE)
    parser.add_argument("--batch-size", metavar="N", type=int, required=True)


def add_merge(parser: argparse.ArgumentParser) -> None:
    """Add what `merge` takes."""
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


def add_comment(parser: argparse.ArgumentParser) -> None:
    """Add what `comment` takes."""
    _add_reports(parser)
    parser.add_argument(
        "--label",
        metavar="NAME",
        help="each label has a comment of its own; default: the name of the CI job",
    )
    parser.add_argument("--dry-run", action="store_true", help="only print the comment")


def _add_reports(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "reports",
        metavar="REPORT",
        nargs="*",
        type=Path,
        help="report.json of a run, also several; default: that of the last run here",
    )


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add what `report` takes."""
    _add_reports(parser)
    made = parser.add_mutually_exclusive_group(required=True)
    made.add_argument("--html", metavar="OUT", type=Path, help="the page to write")
    made.add_argument(
        "--format",
        choices=tuple(BENCHMARK_FORMATS),
        help="print the values instead, for Bencher's adapter json, or for these tools of "
        "github-action-benchmark",
    )


def add_analyze(parser: argparse.ArgumentParser) -> None:
    """Add what `analyze` takes."""
    parser.add_argument("case", metavar="CASE", help=CASE)
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


def add_predict(parser: argparse.ArgumentParser) -> None:
    """Add what `predict` takes."""
    parser.add_argument("case", metavar="CASE", nargs="?", help=CASE)
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
        "--devices",
        metavar="N",
        action="append",
        help=f"a number of GPUs other than the case's, 1 to {MOST_DEVICES}, also several times: the "
        "largest batch of a rank against it",
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
        "--all",
        action="store_true",
        help="predict every case of the matrix that names a GPU; with --gpu every case",
    )
    parser.add_argument(
        "--compare",
        metavar="REQUIREMENT",
        nargs=2,
        help="predict in two environments, such as torch==2.12.1 torch==2.13.0, and show what "
        "moves; each may be several requirements with blanks between them, or paths",
    )
    parser.add_argument(
        "--plot",
        metavar="PATH",
        help="draw the memory of a training step over time; with several --devices, the largest "
        "batch of a rank against them (PNG)",
    )
    parser.add_argument(
        "--snapshot",
        metavar="PATH",
        help="write the history of its allocations, for https://pytorch.org/memory_viz (pickle)",
    )


def add_bisect(parser: argparse.ArgumentParser) -> None:
    """Add what `bisect` takes."""
    parser.add_argument("case", metavar="CASE", help=CASE)
    for name, what in (("good", "before it"), ("bad", "that has it")):
        parser.add_argument(
            f"--{name}", metavar="REV", required=True, help=f"a commit {what}, as git names it"
        )
    parser.add_argument(
        "--below",
        metavar="N",
        type=int,
        help="a largest batch below N is bad; default: one below what bounds.batch_size allows at "
        "--good",
    )
    parser.add_argument(
        "--gpu", metavar="LABEL", help="a GPU, such as H200; default: the case's own"
    )
    parser.add_argument(
        "--link",
        metavar="PATH",
        action="append",
        help="what git does not hold, such as data: link to it in each revision; also several "
        "times, relative to the top of the repository",
    )


def add_tune(parser: argparse.ArgumentParser) -> None:
    """Add what `tune` takes."""
    parser.add_argument("case", metavar="CASE", nargs="?", help=CASE)
    for name, what in (
        ("module", "a module in place of CASE"),
        ("data", "the data for --module"),
        ("training", "a function that makes what trains, in place of module and data"),
    ):
        parser.add_argument(
            f"--{name}",
            metavar="CLASS_PATH",
            help=f"{what}: a class path, or {{class_path: ..., init_args: {{...}}}}",
        )
    parser.add_argument(
        "--gpu",
        metavar="LABEL",
        help="h100, h100-as-24GiB, cpu-2GiB, an index such as 0, or a mapping as in the matrix; "
        "default: the case's own, else the GPU of this machine",
    )
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        help="a setting as below models in the matrix, also several times: "
        "search.max_batch_size=64, lr_range.when=never, module.init_args.width=32",
    )
    parser.add_argument(
        "--matrix",
        metavar="PATH",
        help="default: that of a pytest run here, usually profiles/matrix.yaml",
    )
    parser.add_argument("--lock", metavar="PATH", help="also write the values into this lockfile")


def add_simulate(parser: argparse.ArgumentParser) -> None:
    """Add what `simulate` takes."""
    parser.usage = (
        "%(prog)s --gpu LABEL [--count N] [--memory SIZE] [--json [PATH]] [--snapshot PATH] "
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
    parser.add_argument(
        "--snapshot",
        metavar="PATH",
        help="also write torch's memory snapshot of each process, for pytorch.org/memory_viz",
    )
    # A command without `--` ends here, for a message that tells so.
    parser.add_argument("stray", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
