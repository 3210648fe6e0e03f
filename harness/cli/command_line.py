"""Runs the command `gpu-profile`: parses its arguments, calls a verb, and prints its answer."""

from __future__ import annotations

import argparse
import io
import os
import sys
from importlib import metadata
from typing import TYPE_CHECKING, NoReturn

from harness.cli.answers.answer import Answer, error_document
from harness.cli.answers.output import nothing_on_output, write_document
from harness.cli.common import say_aside
from harness.cli.verbs import VERBS
from harness.errors import HarnessError
from harness.visible import ESCAPING, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

_TROUBLE = 2
_INTERRUPTED = 130
_EPILOG = (
    "Exit code: 0 all is well, 1 something differs or does not fit, 2 the question has no answer."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code.

    0 when all is well; 1 when something differs or a probe does not fit; 2 when there is no answer:
    wrong input, a device that is not here, a workload that cannot be built; 130 after Ctrl-C. That
    of `simulate` is its program's. `--json` changes no exit code.
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
    try:
        return _run(given, command)
    except BrokenPipeError:  # `gpu-profile diff OLD NEW | head`
        # Python flushes once more at its end, which would fail again.
        _write_nowhere()
        return 0
    except OSError as error:  # `gpu-profile show CASE --json > FILE` on a disk that is full
        _write_nowhere()
        reason = error.strerror or error
        return _say_trouble(HarnessError(f"standard output cannot be written: {reason}"))


def _write_nowhere() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(given: list[str], command: list[str] | None) -> int:
    try:
        options = _parser().parse_args(given)
    except _UsageError as error:
        # A wrong argument hides whether the others were read.
        if "--json" in given:
            verb = next((verb.name for verb in VERBS if given[0] == verb.name), None)
            write_document(verb, error_document(error))
        say_aside(f"{error.usage}{error.prog}: error: {error}")
        return _TROUBLE
    options.command = command
    if options.json is True:  # `simulate --json PATH` writes a file
        return _answer_as_json(options)
    try:
        answer: Answer = options.run(options)
        if sys.stdout is not None:  # `>&-`
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except (HarnessError, OSError, KeyboardInterrupt) as error:
        return _say_trouble(error)
    return answer.code


def _answer_as_json(options: argparse.Namespace) -> int:
    try:
        with nothing_on_output():
            answer: Answer = options.run(options)
    except (HarnessError, OSError, KeyboardInterrupt) as error:
        answer = Answer(_say_trouble(error), error_document(error))
    write_document(options.verb, answer.document)
    return answer.code


def _say_trouble(error: BaseException) -> int:
    """Tell an error on standard error, and return the exit code."""
    if isinstance(error, KeyboardInterrupt):
        say_aside("gpu-profile: interrupted")
        return _INTERRUPTED
    separator = "\n" if "\n" in str(error) else " "
    say_aside(f"gpu-profile:{separator}{error}")
    return _TROUBLE


class _UsageError(Exception):
    """A wrong argument, with the usage of the parser that found it."""

    def __init__(self, message: str, prog: str, usage: str) -> None:
        super().__init__(message)
        self.prog = prog
        self.usage = usage


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise a wrong argument: it may be the name of a file that others have chosen."""
        raise _UsageError(visible(message), self.prog, self.format_usage())


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(
        prog="gpu-profile",
        description="Answer questions about matrix and lockfile outside pytest.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--version", action="version", version=metadata.version("pytest-gpu-profile")
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB", dest="verb")
    for verb in VERBS:
        added = verbs.add_parser(
            verb.name,
            help=verb.text,
            description=f"{verb.text[0].upper()}{verb.text[1:]}.",
            epilog=_EPILOG,
        )
        added.set_defaults(run=verb.run)
        for add in verb.arguments:
            add(added)
        verb.json(added)
    return parser
