"""Finds calls in a project that say how it trains: of its classes, of the Trainer, of backward."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from harness.lightning_names import TOLD
from harness.matrix.trainer_settings import REFUSED, TrainerSettings, accepts
from harness.starting.definitions import FILL_IN, NO_LITERAL, literal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.starting.definitions import Definition, Definitions
    from harness.starting.sources import Source

# What a run shows or saves, which is without effect on what is measured.
_SHOWN = frozenset(
    {
        "callbacks",
        "enable_checkpointing",
        "enable_model_summary",
        "enable_progress_bar",
        "log_every_n_steps",
        "logger",
        "model_registry",
        "plugins",
    }
)
_MAX_SHOWN = 60
# Options of scripts by which a command is told a batch size, and how long to train. Words that a
# person joins by dashes or underscores; the likeliest first.
_BATCH_SIZES = ("batch_size", "train_batch_size", "per_device_train_batch_size", "bs", "batch")
_LENGTHS = ("max_steps", "max_iters", "max_iterations", "num_steps", "num_iterations", "steps")


@dataclass(frozen=True, slots=True)
class TrainerCall:
    """A call of Lightning's Trainer."""

    where: str
    settings: dict[str, Any]
    """The keywords that a matrix takes, with their values."""
    left_out: list[str]
    """The others, as the source has them, with the reason."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A file that trains with a loop of its own."""

    where: str
    """Where it calls `.backward()` first."""
    file: str
    batch_size: str | None
    """The option of its command line that sets the batch size, such as `--batch-size`."""
    length: str | None
    """The option that sets its optimizer steps."""


@dataclass(slots=True)
class Calls:
    """The calls of a project."""

    values: dict[str, dict[str, tuple[Any, str]]] = field(default_factory=dict)
    """By class path and parameter: the first literal that a call gives, and where."""
    users: dict[str, set[str]] = field(default_factory=dict)
    """By class path: the class paths of the classes and the files in which it is called."""
    trainers: list[TrainerCall] = field(default_factory=list)
    loops: list[Loop] = field(default_factory=list)
    """The files that call `.backward()`."""


def find_calls(definitions: Definitions) -> Calls:
    """Return the calls in all files of the project."""
    found = Calls()
    for source in definitions.files.values():
        found.loops += _loops(source)
        for user, node in _calls(source):
            called = definitions.dotted(source, node.func)
            if called.partition(".")[0] in ("lightning", "pytorch_lightning"):
                if called.endswith(".Trainer"):
                    found.trainers.append(_trainer(source, node))
            elif called and (one := definitions.find(called)):
                found.users.setdefault(one.class_path, set()).update({user, source.module})
                first = one.class_path not in found.values
                values = found.values.setdefault(one.class_path, {})
                for name, value in _given(definitions, one, node):
                    if not first and name in _with_defaults(definitions, one):
                        continue  # what trains comes first, as a rule, and left it out
                    values.setdefault(name, (value, f"{source.shown}:{node.lineno}"))
    return found


def _with_defaults(definitions: Definitions, one: Definition) -> set[str]:
    return {each.name for each in definitions.parameters(one) if not each.required}


def _loops(source: Source) -> Iterator[Loop]:
    """Yield the loop of a file that calls `.backward()`, with what its command line sets."""
    lines = []
    options: dict[str, str] = {}
    for _, node in _calls(source):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if called == "backward":
            lines.append(node.lineno)
        elif called == "add_argument":
            options |= {_word(option): option for option in _options(node)}
    if lines:
        given = [
            next((options[name] for name in names if name in options), None)
            for names in (_BATCH_SIZES, _LENGTHS)
        ]
        yield Loop(f"{source.shown}:{min(lines)}", source.shown, *given)


def _options(node: ast.Call) -> Iterator[str]:
    """Yield the long options of a call of argparse's `add_argument`."""
    for value in map(literal, node.args):
        if isinstance(value, str) and value.startswith("--"):
            yield value


def _word(option: str) -> str:
    return option.removeprefix("--").replace("-", "_").lower()


def _given(definitions: Definitions, one: Definition, node: ast.Call) -> Iterator[tuple[str, Any]]:
    """Yield the parameters that a call gives as literals."""
    names = [parameter.name for parameter in definitions.parameters(one)]
    # Behind a `*values` nobody knows which is which.
    plain = takewhile(lambda value: not isinstance(value, ast.Starred), node.args)
    given = [*zip(names, plain, strict=False)]
    given += [(word.arg, word.value) for word in node.keywords if word.arg in names]
    for name, value in given:
        if (found := literal(value)) is not NO_LITERAL:
            yield name, found


def _calls(source: Source) -> Iterator[tuple[str, ast.Call]]:
    """Yield the calls of a file, each with the class path of the class at the top around it."""
    for statement in source.tree.body:
        name = getattr(statement, "name", "")
        for node in ast.walk(statement):
            if isinstance(node, ast.Call):
                yield f"{source.module}.{name}", node


def _trainer(source: Source, node: ast.Call) -> TrainerCall:
    settings: dict[str, Any] = {}
    left_out = []
    for word in node.keywords:
        name = word.arg
        if name is None or name in _SHOWN:
            continue
        value = literal(word.value)
        shown = f"{name}={ast.unparse(word.value)[:_MAX_SHOWN]}"
        if name in REFUSED:
            left_out.append(f"{shown}: {REFUSED[name]}")
        elif name not in TrainerSettings.model_fields:
            left_out.append(f"{shown}: no keyword of a matrix")
        elif value is NO_LITERAL:
            left_out.append(shown if name in TOLD else f"{shown}: {FILL_IN} what you train with")
        elif accepts(name, value):
            settings[name] = value
        else:
            several = name in ("devices", "strategy")
            why = "for GPUs that are several" if several else "a matrix does not take this value"
            left_out.append(f"{shown}: {why}")
    return TrainerCall(f"{source.shown}:{node.lineno}", settings, left_out)
