"""Chooses what of a project a first matrix trains, with which data and which arguments."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.starting.calls import Calls, Loop, find_calls
from harness.starting.definitions import FILL_IN, NO_LITERAL, Definition, Definitions
from harness.starting.made import returns_a_trainer, returns_a_training

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.starting.sources import Sources

MAX_MODELS = 20
"""The most models of a matrix that a person has not asked for one by one."""
_SIDES = ("resolution", "image_size", "img_size", "image_resolution", "img_resolution")
_LENGTHS = (
    "seq_len",
    "seq_length",
    "sequence_length",
    "block_size",
    "context_length",
    "max_length",
    "max_len",
    "max_seq_len",
    "max_seq_length",
)
_GUESSES = {**dict.fromkeys(_SIDES, 32), **dict.fromkeys(_LENGTHS, 128)}
# The harness sets these on what is built; a constructor without a default needs a value all the
# same.
_SET_LATER: dict[str, tuple[Any, str]] = {
    "batch_size": (32, "each probe sets its own"),
    "lr": (1e-3, "the LR range test sets its own"),
    "learning_rate": (1e-3, "the LR range test sets its own"),
}
_GIVEN = {"batch_size", "device"}
_TRAINED = ("LightningModule", "training", "Trainer")
REFERENCE = "${resolution}"


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a constructor, or one that a person must fill in."""

    name: str
    value: Any
    """`NO_LITERAL` where it must be filled in."""
    comment: str
    is_resolution: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A class path of the matrix, with its arguments."""

    key: str
    definition: Definition
    arguments: list[Argument]
    defaults: list[str]
    """The parameters that keep their defaults."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry below `models`."""

    label: str
    parts: list[Part]
    comments: list[str]
    command: str | None = None
    """In place of parts: the program that trains."""


@dataclass(slots=True)
class Project:
    """What was found in a project."""

    files: int = 0
    entries: list[Entry] = field(default_factory=list)
    found: list[tuple[str, str, str]] = field(default_factory=list)
    """Class path, kind and place of what was recognised."""
    resolutions: dict[int, str] = field(default_factory=dict)
    """Values of parameters that are resolutions, each with its place, the first one first."""
    guess: int | None = None
    """A resolution, where such a parameter has no value in the code."""
    calls: Calls = field(default_factory=Calls)
    notes: list[str] = field(default_factory=list)

    @property
    def read(self) -> str:
        """How many files were read."""
        return f"{self.files} Python file{'' if self.files == 1 else 's'}"

    @property
    def uses_lightning(self) -> bool:
        """Whether Lightning's Trainer trains one of the entries."""
        return any(part.key == "module" for entry in self.entries for part in entry.parts)


def look_at_project(sources: Sources, check: Callable[[str], str]) -> Project:
    """Return what of the project a matrix can name.

    check: returns why a class path cannot be imported, or an empty text.
    """
    definitions = Definitions(sources.files)
    project = Project(len(sources.files), calls=find_calls(definitions), notes=[*sources.notes])
    usable = []
    kinds = _kinds(definitions, project.calls)
    for one, kind in kinds:
        if reason := check(one.class_path):
            project.notes.append(f"{one.where}: {one.class_path} was left out: {reason}")
        else:
            usable.append((one, kind))
            project.found.append((one.class_path, kind, one.where))
    data = [one for one, kind in usable if kind == "LightningDataModule"]
    data = data or [one for one, kind in usable if kind == "Dataset"]
    trained = [(one, kind) for one, kind in usable if kind in _TRAINED]
    loops = [] if trained else [loop for loop in project.calls.loops if loop.batch_size]
    if not loops:
        trained = trained or [(one, kind) for one, kind in usable if kind == "nn.Module"]
    # What the code itself makes stands first: nobody trains all the parts of a library.
    trained.sort(key=lambda candidate: candidate[0].class_path not in project.calls.users)
    if len(trained) > MAX_MODELS:
        project.notes.append(f"the matrix names the first {MAX_MODELS} of {len(trained)} models")
    labels: set[str] = set()
    for one, kind in trained[:MAX_MODELS]:
        label = _label(one.node.name, labels)
        project.entries.append(_entry((label, one, kind), data, definitions, project))
    for loop in loops[:MAX_MODELS]:
        project.entries.append(_command(_label(Path(loop.file).stem, labels), loop))
    return project


def _command(label: str, loop: Loop) -> Entry:
    """Return the entry of a script that trains with a loop of its own: a step cannot be taken."""
    words = ["python", loop.file]
    comments = [
        f"{loop.where}: a loop of its own, run as it is, without an LR range test",
        "if a function holds the loop, `training` can call it, and then there is one",
        "each probe writes what the script writes, over older files too: let it write elsewhere",
    ]
    if loop.length:
        comments.append("in a probe it takes the optimizer steps that are written here")
        told = f" {loop.length} 4"
    else:
        comments.append("a probe ends it after some optimizer steps")
        told = ""
    text = shlex.join(words).replace("${", "$${")
    return Entry(label, [], comments, f"{text} {loop.batch_size} ${{batch_size}}{told}")


def _kinds(definitions: Definitions, calls: Calls) -> list[tuple[Definition, str]]:
    found = []
    modules = []
    bases = {
        base.class_path for one in definitions.classes for base in definitions.line(one)[0][1:]
    }
    for one in definitions.classes:
        if one.class_path in bases and one.class_path not in calls.users:
            continue  # nobody makes one: only those that derive from it are used
        kind = "" if definitions.is_abstract(one) else _kind(definitions, one)
        if kind == "nn.Module":
            modules.append(one)
        elif kind:
            found.append((one, kind))
    trainings = {one.class_path for one, kind in found if kind == "training"}
    for one in definitions.functions:
        taken = {parameter.name for parameter in definitions.parameters(one)}
        if taken >= _GIVEN and returns_a_training(definitions, one):
            found.append((one, "training"))
        elif returns_a_trainer(definitions, one):
            found.append((one, "Trainer"))
    # A layer of another module, or of a LightningModule, is no model of its own.
    inside = {one.class_path for one in [*modules, *(one for one, _ in found)]} - trainings
    whole = [one for one in modules if not calls.users.get(one.class_path, set()) & inside]
    return [*found, *((one, "nn.Module") for one in whole if definitions.has(one, "forward"))]


def _kind(definitions: Definitions, one: Definition) -> str:
    """Return what a class is to a matrix; an empty text where it is nothing."""
    if definitions.derives(one, "LightningModule"):
        return "LightningModule" if definitions.has(one, "training_step") else ""
    if definitions.derives(one, "LightningDataModule"):
        return "LightningDataModule"
    if definitions.derives(one, "Dataset", "IterableDataset", libraries=("torch",)):
        return "Dataset"
    if definitions.is_torch_module(one):
        return "nn.Module"
    taken = {parameter.name for parameter in definitions.parameters(one)}
    return "training" if definitions.has(one, "step") and taken >= _GIVEN else ""


def _label(name: str, labels: set[str]) -> str:
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    label = base = re.sub(r"[^a-z0-9_]", "", snake)[:60].strip("_") or "model"
    number = 1
    while label in labels:
        number += 1
        label = f"{base}_{number}"
    labels.add(label)
    return label


def _entry(
    candidate: tuple[str, Definition, str],
    data: list[Definition],
    definitions: Definitions,
    project: Project,
) -> Entry:
    label, one, kind = candidate
    key = "training" if kind in ("training", "Trainer") else "module"
    parts = [_part(key, one, definitions, project)]
    what = {
        "training": "a training with step()",
        "Trainer": "makes a transformers.Trainer, whose batch size a probe sets",
        "nn.Module": "an nn.Module",
    }
    comments = [f"{one.where}: {what.get(kind, f'a {kind}')}"]
    if kind == "nn.Module" and project.calls.loops:
        comments.append(
            f"a loop of its own at {project.calls.loops[0].where}: `training`, a step function, or "
            "`command` would take it as it is"
        )
    own_loader = kind == "LightningModule" and definitions.has(one, "train_dataloader")
    if key == "training" or own_loader:
        return Entry(label, parts, comments)
    ranked = sorted(data, key=lambda other: _distance(one, other, project.calls))
    if ranked:
        parts.append(_part("data", ranked[0], definitions, project))
        others = ", ".join(other.class_path for other in ranked[1:5])
        comments += [f"the data may also be {others}"] if others else []
    else:
        comments.append(
            f"data: {FILL_IN} the class_path of a LightningDataModule or a data set; none was found"
        )
    return Entry(label, parts, comments)


def _distance(one: Definition, other: Definition, calls: Calls) -> tuple[bool, bool]:
    """Return how far two classes are from each other: data that are used or stand beside first."""
    together = calls.users.get(one.class_path, set()) & calls.users.get(other.class_path, set())
    return not together, one.source is not other.source


def _part(key: str, one: Definition, definitions: Definitions, project: Project) -> Part:
    arguments = []
    defaults = []
    known = project.calls.values.get(one.class_path, {})
    for parameter in definitions.parameters(one):
        name = parameter.name
        value, place = known.get(name, (parameter.default, one.where))
        if key == "training" and name in _GIVEN:
            continue
        if name in _GUESSES and (type(value) is int or value in (NO_LITERAL, None)):
            if type(value) is int:
                project.resolutions.setdefault(value, f"{name} at {place}")
            else:
                project.guess = project.guess or _GUESSES[name]
            arguments.append(Argument(name, REFERENCE, "", is_resolution=True))
        elif not parameter.required and name not in known:
            shown = "..." if value is NO_LITERAL else repr(value)
            defaults.append(f"{name}={shown}")
        elif name in _SET_LATER:
            if parameter.required:
                arguments.append(Argument(name, *_SET_LATER[name]))
        elif name in known:
            arguments.append(Argument(name, value, f"as at {place}"))
        else:
            kind = f", {parameter.annotation}" if parameter.annotation else ""
            arguments.append(Argument(name, NO_LITERAL, f"{FILL_IN}: it has no default{kind}"))
    return Part(key, one, arguments, defaults)
