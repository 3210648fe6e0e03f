"""The verb `init`: looks at a project and writes a first matrix, its test module and a workflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from harness.cli.answers.answer import Answer
from harness.cli.common import say
from harness.errors import HarnessError
from harness.matrix.cases import parse_matrix
from harness.matrix.class_paths import ClassPaths
from harness.matrix.mistakes import MatrixError
from harness.starting.candidates import Project, look_at_project
from harness.starting.definitions import FILL_IN
from harness.starting.machine import Machine, look_at_machine
from harness.starting.matrix_text import matrix_text
from harness.starting.other_files import PACKAGE, TEST_MODULE, repository, workflow_text, write_new
from harness.starting.sources import Sources, read_project
from harness.visible import cut, one_line
from harness.wording import shown_path, typed_path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from harness.run.paths import Paths

_MAX_SHOWN = 20


class InitFound(TypedDict):
    """A class, a function or a script that a matrix can name."""

    class_path: str
    kind: str
    where: str
    """FILE:LINE."""


class InitDocument(TypedDict):
    """The answer of `init`."""

    num_files: int
    """Python files that were read."""
    found: list[InitFound]
    loops: list[str]
    """FILE:LINE of training loops that stand in no function or script that a matrix can name."""
    trainers: list[str]
    """FILE:LINE of Trainers, likewise."""
    machine: str
    left_out: list[str]
    """What could not be read, or is not used, with the reason."""
    wrote: list[str]
    kept: list[str]
    """Files that were there, and are as they were."""
    fill_in: list[str]
    """What a person has to complete."""


def init(options: argparse.Namespace, paths: Paths) -> Answer:  # noqa: ARG001 - a verb's signature
    """Write what is missing of matrix, test module and workflow; leave what is there."""
    root = Path(paths.root)
    sources = read_project(root, paths.python_path)
    bases = tuple(dict.fromkeys(str(source.base) for source in sources.files))
    folders = (*paths.module_path, *bases)
    checker = ClassPaths(folders)
    project = look_at_project(sources, lambda class_path: checker.check(class_path).message)
    machine = look_at_machine()
    matrix = matrix_text(project, machine) if project.entries else ""
    if not matrix and not paths.matrix.exists():
        raise HarnessError(_nothing(project, root))
    if matrix:
        _load(matrix, paths, folders)
    _say_found(project, machine, root)
    top = repository(root)
    workflow = top / ".github" / "workflows" / "gpu-profile.yml"
    wrote: list[Path] = []
    left: list[Path] = []
    files = [
        (paths.matrix, matrix),
        (paths.matrix.parent / "test_profiles.py", TEST_MODULE),
        (workflow, workflow_text(root, top, machine)),
    ]
    for path, text in files:
        written = bool(text) and write_new(path, text, top)
        (wrote if written else left).append(path)
    _say_list("wrote", map(shown_path, wrote))
    _say_list("left as they were", map(shown_path, left))
    to_do = []
    if paths.matrix in wrote:
        to_do += [
            f"{shown_path(paths.matrix)}:{number}: {line.strip(' #').replace(f':  # {FILL_IN}', '')}"
            for number, line in enumerate(matrix.splitlines(), start=1)
            if FILL_IN in line
        ]
        to_do += _python_path(project, sources, paths)
    if workflow in wrote:
        to_do.append(f"{shown_path(workflow)}: in place of {PACKAGE}, where pip finds it")
    _say_list("fill in", to_do)
    say("next\n  pytest --gpu-profile")
    document: InitDocument = {
        "num_files": project.files,
        "found": [
            {"class_path": class_path, "kind": kind, "where": where}
            for class_path, kind, where in project.found
        ],
        "loops": [one.where for one in project.calls.loops],
        "trainers": [one.where for one in project.calls.trainers],
        "machine": machine.said,
        "left_out": project.notes,
        "wrote": [typed_path(path) for path in wrote],
        "kept": [typed_path(path) for path in left],
        "fill_in": to_do,
    }
    return Answer(0, document)


def _load(matrix: str, paths: Paths, folders: tuple[str, ...]) -> None:
    """Raise HarnessError when the matrix does not load, before anything is written."""
    try:
        parse_matrix(matrix, shown_path(paths.matrix), folders)
    except MatrixError as error:
        raise HarnessError(
            f"the matrix of what was found would not load, so nothing was written:\n{error}"
        ) from error


def _nothing(project: Project, root: Path) -> str:
    told = (
        f"found nothing to profile in {project.read} below {one_line(str(root))}: no "
        "LightningModule with a training_step, no class with step() that takes batch_size and "
        "device, no function that returns a transformers.Trainer, no nn.Module, no script with a "
        "loop and an option --batch-size. Nothing was written"
    )
    lines = [told]
    lines += [
        f"  a loop of its own calls backward at {cut(loop.where)}: give it a step(), or a function "
        "around it, or an option --batch-size, as docs/other-trainings.md shows"
        for loop in project.calls.loops[:_MAX_SHOWN]
    ]
    lines += [f"  {cut(note)}" for note in project.notes[:_MAX_SHOWN]]
    return "\n".join(lines)


def _say_found(project: Project, machine: Machine, root: Path) -> None:
    say(f"found in {project.read} below {one_line(str(root))}")
    width = max((len(path) for path, _, _ in project.found[:_MAX_SHOWN]), default=0)
    rows = [
        f"{path.ljust(width)}  {kind.ljust(19)}  {where}" for path, kind, where in project.found
    ]
    rows += [
        f"{'a loop of its own'.ljust(width)}  {'':19}  {loop.where}" for loop in project.calls.loops
    ]
    rows += [f"{'a Trainer'.ljust(width)}  {'':19}  {one.where}" for one in project.calls.trainers]
    for row in rows[:_MAX_SHOWN]:
        say(f"  {cut(row)}")
    if len(rows) > _MAX_SHOWN:
        say(f"  and {len(rows) - _MAX_SHOWN} more")
    say(f"  on this machine: {cut(machine.said)}")
    _say_list("left out", project.notes)


def _python_path(project: Project, sources: Sources, paths: Paths) -> list[str]:
    """Return a hint for each folder of the module path that a run would not have."""
    checker = ClassPaths(paths.module_path)
    modules = {source.module: source for source in sources.files}
    missing = {
        modules[part.definition.source.module].base
        for entry in project.entries
        for part in entry.parts
        if checker.check(part.definition.class_path).message
    }
    if not missing:
        return []
    folders = ", ".join(f'"{base.relative_to(paths.root).as_posix()}"' for base in sorted(missing))
    hint = (
        f"pytest's configuration: pythonpath = [{one_line(folders)}] in [tool.pytest.ini_options] "
        "of pyproject.toml, or install the project: its modules are not on the module path"
    )
    return [hint]


def _say_list(title: str, items: Iterable[str]) -> None:
    rows = list(items)
    if rows:
        say(title)
    for row in rows[:_MAX_SHOWN]:
        say(f"  {cut(row)}")
    if len(rows) > _MAX_SHOWN:
        say(f"  and {len(rows) - _MAX_SHOWN} more")
