"""Checks the commands that train a model, and splits them into words. Pure."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from harness.matrix.field_types import Allowed
from harness.matrix.references import Unresolved, substitute
from harness.matrix.settings import LrRangeSettings, WorkersSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.case_names import Scalar
    from harness.matrix.case import Case

KEY = "command"
BATCH_SIZE = "batch_size"
"""The reference that each probe replaces by its batch size; no axis does."""

_PLACE = f"${{{BATCH_SIZE}}}"
_WRITTEN = re.compile(rf"\$\{{\s*{BATCH_SIZE}\s*\}}")
# These ask a shell, and there is none. Alone they are a word; `2>&1` and `>log` begin with it.
_OF_A_SHELL = re.compile(r"(\||\|\||&|&&|;|<|<<|\d?>>?|\d?>&\d)")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


def split(command: str) -> list[str]:
    """Return the words of a command, as a shell splits them; the batch size is left open.

    Raises ValueError where it has none, or a quote without an end.
    """
    words = shlex.split(command)
    if not words:
        raise ValueError("no word")
    return [_WRITTEN.sub(lambda _: _PLACE, word) for word in words]


def without_batch_size(command: str, axes: Mapping[str, Scalar]) -> str:
    """Return a command with the axes' values, in which the batch size is left open."""
    return str(substitute(command, {**axes, BATCH_SIZE: _PLACE}))


def _checked(command: str) -> str:
    """Refuse what is no command of one program with a batch size."""
    try:
        words = split(command)
    except ValueError as error:
        raise ValueError(f"is no command ({error}): close its quotes") from None
    if isinstance(command, Unresolved) and not _WRITTEN.search(command):
        return command  # whatever its axes make of it is checked later
    if not any(_PLACE in word for word in words):
        raise ValueError(
            f"does not say where the batch size belongs: write {_PLACE} there, as in "
            f"`python train.py --batch-size {_PLACE}`"
        )
    shell = next((word for word in words if _OF_A_SHELL.fullmatch(word)), None)
    if shell is not None:
        raise ValueError(
            f"is run without a shell, so `{shell}` would be an argument: write it as "
            f"`bash -c '… {shell} …'`, or put it into a script"
        )
    if _ASSIGNMENT.match(words[0]):
        raise ValueError(
            f"is run without a shell, so `{words[0]}` is no program: write `env {words[0]} …`"
        )
    return command


Command = Annotated[
    str,
    AfterValidator(_checked),
    Allowed(f"a command with {_PLACE}, such as `python train.py --batch-size {_PLACE}`"),
]
"""A program and its arguments, in one line."""


def of_command(case: Case) -> Case:
    """Return the case of a command: without what only Lightning and the LR range test would do."""
    never = LrRangeSettings(when="never")
    return replace(
        case,
        # Beyond what a preset sets, which is no mistake.
        search=case.search.model_copy(update={"soak_steps": 0}),
        lr_range=never,
        workers=WorkersSettings(),
        stated=None if case.stated is None else (case.stated[0], never),
    )


def refusals(case: Case) -> Iterator[str]:
    """Yield what a command cannot be asked for."""
    search = case.search
    if search.validation == "search":
        yield (
            "`search.validation: search` asks for a batch size of validation's own, and a command "
            "is not told one: set true or false for this model"
        )
    if search.worst_batches:
        yield (
            "`search.worst_batches` walks the loaders of a module or data module, and a command "
            "loads its own data: set false for this model"
        )
    if search.inference:
        yield (
            "`search.inference` runs functions of Lightning's Trainer, and a command runs whatever "
            "it runs: set [] for this model, or profile the command that evaluates"
        )
    if search.global_batch_size is not None:
        yield (
            "`search.global_batch_size` sets the accumulation of a Trainer, and a command "
            "accumulates by itself: set null for this model"
        )
    if search.soak_steps:
        yield (
            "`search.soak_steps` cannot make a command train longer: set 0 for this model, and let "
            "the command itself take as many steps"
        )
    if search.objective == "throughput":
        yield (
            "`search.objective: throughput` needs the samples of a step, which a command does not "
            "tell: set memory for this model"
        )
    if case.bounds.throughput.max_drop is not None:
        yield (
            "`bounds.throughput` needs the samples of a step, which a command does not tell: set "
            "max_drop: null for this model"
        )
