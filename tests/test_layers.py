"""The layers of the package: imports go down only, and a probe imports nothing of pytest's process.

This is the truth of docs/architecture.md.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import harness

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(harness.__file__).parent
LAYERS = (
    ("visible",),
    (
        "_lazy",
        "bounded_file",
        "case_names",
        "device_identity",
        "errors",
        "lightning_names",
        "matrix.yaml12",
        "pipes",
        "units",
        "wording",
    ),
    ("measurement",),
    ("protocol",),
    ("breakdown", "file_locks", "global_batch", "progress", "synthetic"),
    ("files", "git"),
    ("simulated",),
    ("environments", "figures", "lockfile", "matrix", "search", "workload"),
    ("configurations", "loaders", "lock_history", "lr_range", "memory_bounds", "throughput"),
    ("devices", "failures", "identity"),
    ("commands", "held_memory", "probe_trainer"),
    ("allocator", "bounds", "probe_tasks", "probes"),
    ("batch_search", "check", "starting"),
    ("predict",),
    ("measure", "report", "zygote"),
    ("loggers", "page", "scheduling"),
    ("fleet",),
    ("run",),
    ("benchmark_formats", "doctor", "pull_request"),
    ("direct",),
    ("cli", "optuna", "train_time"),
    ("plugin", "testing", "harness"),
)
"""Folders and single modules, the lowest first. What stands in one layer imports nothing of it."""

LIBRARIES = {
    "torch": (
        "commands.inside",
        "failures.out_of_memory",
        "held_memory.marked_test",
        "loaders",
        "memory_bounds",
        "predict.gpu_facts",
        "probe_tasks",
        "probe_trainer.own_loops",
        "probe_trainer.rank_talk",
        "synthetic",
        "workload",
        "zygote",
    ),
    "pytest": ("cli.find_paths", "plugin", "run"),
    "jinja2": ("page.writing",),
    "pydantic": (
        "cli.answers.json_schema",
        "fleet.answers",
        "matrix",
        "page.report_model",
        "probes",
        "protocol",
    ),
    "pynvml": ("devices.nvml.binding",),
    "matplotlib": ("figures", "loggers.inside"),
    "ray": ("fleet.ray_cluster", "fleet.ray_connection"),
    "rich": ("progress.block",),
    "yaml": ("configurations.cli_runs", "matrix.yaml12"),
    "tomli_w": ("cli.lockfile", "lockfile.render"),
    "vl_convert": ("page.library",),
}
"""Who may import a library, inside functions and for typing, too."""

PROBES = (
    "commands",
    "configurations",
    "held_memory",
    "loaders",
    "memory_bounds",
    "probe_tasks",
    "probe_trainer",
    "zygote",
)
"""What runs in a case's zygote and its probes; `held_memory` also where a test is marked."""

PYTESTS = (
    "allocator",
    "batch_search",
    "benchmark_formats",
    "bounds",
    "breakdown",
    "check",
    "cli",
    "devices",
    "direct",
    "doctor",
    "environments",
    "fleet",
    "git",
    "lock_history",
    "lockfile",
    "loggers",
    "matrix",
    "measure",
    "page",
    "predict",
    "probes",
    "pull_request",
    "report",
    "run",
    "scheduling",
    "starting",
)
"""What never runs there."""


@cache
def modules() -> dict[str, Path]:
    """Return the modules of the package by dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str) -> Iterator[str]:
    """Yield the modules of the package that a module imports, also for typing or in functions."""
    for node in ast.walk(ast.parse(modules()[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules())
        elif isinstance(node, ast.ImportFrom) and node.module in modules():
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                yield inside if inside in modules() else node.module


def foreign_imports(name: str) -> set[str]:
    """Return the top-level packages that a module imports."""
    found = set()
    for node in ast.walk(ast.parse(modules()[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def dotted(places: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of modules and folders as beginnings: `lockfile.` and not `lockfile_of`."""
    return tuple(f"{place}." for place in places)


def unit(module: str) -> str:
    """Return the folder or the single module of the package that a module belongs to."""
    below = module.removeprefix("harness").removeprefix(".")
    if below.startswith("matrix.yaml12"):
        return "matrix.yaml12"
    return below.partition(".")[0] or "harness"


def layer(module: str) -> int:
    """Return the number of the layer that a module is in."""
    return next(number for number, units in enumerate(LAYERS) if unit(module) in units)


@pytest.mark.parametrize("library", LIBRARIES)
def test_libraries_are_imported_where_they_belong(library: str) -> None:
    """Pytest's process stays free of torch, a training script of pydantic, and so on."""
    allowed = tuple(f"harness.{place}" for place in LIBRARIES[library])
    users = {name for name in modules() if library in foreign_imports(name)}
    assert set() == {name for name in users if not f"{name}.".startswith(dotted(allowed))}


def test_page_on_the_architecture_has_these_layers() -> None:
    """The table of docs/architecture.md names the units of each layer, in this order."""
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("| layer |")[2].partition("\n\n")[0].splitlines()[2:]
    named = [re.findall(r"`([\w.]+)`", row.split("|")[2]) for row in reversed(table)]
    assert [sorted(units) for units in LAYERS] == [
        sorted(name for name in names if name in units)
        for names, units in zip(named, LAYERS, strict=True)
    ]


def test_every_folder_is_in_one_layer() -> None:
    """The layers name all there is, once, and nothing else."""
    named = [unit for units in LAYERS for unit in units]
    assert sorted({unit(module) for module in modules()}) == sorted(named)


@pytest.mark.parametrize("name", modules())
def test_imports_go_down(name: str) -> None:
    """A module imports from its own folder and from lower layers; imports for typing count."""
    upward = [
        imported
        for imported in imports(name)
        if unit(imported) != unit(name) and layer(imported) >= layer(name)
    ]
    assert [] == upward


def test_no_modules_import_each_other() -> None:
    """There is no circle inside a folder either; a package's __init__ stands above its modules."""
    edges = {
        name: {imported for imported in imports(name) if imported != name} for name in modules()
    }
    done: set[str] = set()
    while free := {name for name, below in edges.items() if name not in done and below <= done}:
        done |= free
    assert set() == edges.keys() - done


@pytest.mark.parametrize("name", [name for name in modules() if unit(name) in PROBES])
def test_what_runs_in_a_probe_imports_nothing_of_pytests_process(name: str) -> None:
    """Not even for typing: each module that a probe imports lies in the heap that it measures."""
    assert [] == [imported for imported in imports(name) if unit(imported) in PYTESTS]


def test_zygote_with_all_its_tasks_loads_neither_nvml_nor_the_lockfile() -> None:
    """Beyond what torch itself imports, a probe's process holds the modules of the probe's side."""
    code = (
        "import sys, torch\n"
        "before = {*sys.modules}\n"
        "from harness.probe_tasks import describe, lr_sweep, train\n"
        "from harness.workload import build, wrappers\n"
        "from harness.zygote import supervisor, workload_setup\n"
        "print(*({*sys.modules} - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {*done.stdout.split()}
    assert {"harness.probe_tasks.train", "harness.zygote.supervisor"} <= loaded
    foreign = {"filelock", "pydantic", "pynvml", "pytest", "tomllib", "yaml"} & loaded
    ours = {name for name in loaded if name in modules() and unit(name) in PYTESTS}
    assert set() == foreign | ours


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in PACKAGE.rglob("*.py")}), ids=lambda path: path.name
)
def test_folders_are_small_and_say_what_they_are_for(folder: Path) -> None:
    """A folder has at most twenty files, and its __init__ says which process runs it."""
    assert len(list(folder.glob("*.py"))) <= 20
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    assert folder == PACKAGE or "Runs " in text


@pytest.mark.parametrize("name", modules())
def test_modules_are_short(name: str) -> None:
    """No module has more than 350 lines."""
    assert len(modules()[name].read_text(encoding="utf-8").splitlines()) <= 350


def test_tests_mirror_the_package() -> None:
    """Each folder of the package has its tests in a folder of the same name, but for mere types."""
    folders = {path.parent.relative_to(PACKAGE) for path in PACKAGE.rglob("__init__.py")}
    folders.remove(Path("protocol"))
    inside = {folder for folder in folders if folder.parts[:1] == ("predict",) and folder.parts[1:]}
    tests = Path(__file__).parent
    assert [] == sorted(folder for folder in folders - inside if not (tests / folder).is_dir())
