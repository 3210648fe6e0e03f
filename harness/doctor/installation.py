"""Checks what is installed: Python, this package and its dependencies, Lightning, torch."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

from harness.devices.nvml.gpus import newest_cuda, visible_gpus
from harness.doctor.findings import Finding, run_child
from harness.errors import HarnessError
from harness.visible import cut
from harness.wording import describe_exit, shown_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.doctor.findings import Project

PACKAGE = "pytest-gpu-profile"
_PLUGIN = "gpu_profile"
# Extras for people who work on the package itself.
_OF_AUTHORS = ("lint", "test")
# Beside lightning, which is required: modules of either package train by their own.
_OTHER_LIGHTNING = "pytorch-lightning"
_QUESTION = """
import json, sys, torch
answer = {"version": torch.__version__, "cuda": torch.version.cuda, "hip": torch.version.hip}
if sys.argv[1:] and torch.version.cuda:
    try:
        torch.cuda.init()
    except Exception as error:
        answer["error"] = str(error).partition("\\n")[0]
print(json.dumps(answer))
"""


def python(project: Project) -> Iterator[Finding]:
    """Check the package itself, and whether Python finds it where it is installed."""
    version = metadata.version(PACKAGE)
    yield Finding("ok", f"Python {platform.python_version()}, {PACKAGE} {version}, {sys.prefix}")
    if _PLUGIN not in metadata.entry_points(group="pytest11").names:
        yield Finding(
            "wrong",
            f"pytest does not know the plugin {_PLUGIN}",
            f"`pip install --force-reinstall --no-deps {PACKAGE}`",
        )
    folders = [Path.cwd()]
    if project.folder is not None:
        folders += [project.folder, *map(Path, project.paths.module_path)]
    ours = Path(__file__).resolve().parents[1] / "__init__.py"
    shadows = {
        place.resolve(): place
        for folder in folders
        for place in (folder / "harness" / "__init__.py", folder / "harness.py")
        if place.is_file()
    }
    for resolved, place in shadows.items():
        if resolved != ours:
            yield Finding(
                "wrong",
                f"{shown_path(place)} shadows this package, which is called harness, too",
                "rename yours, or move it into another package of yours",
            )


def requirements(_project: Project) -> Iterator[Finding]:
    """Check the versions of the dependencies, and of those optional ones that are here."""
    needed = [Requirement(text) for text in metadata.requires(PACKAGE) or ()]
    right = []
    for one in needed:
        if one.marker is not None and not one.marker.evaluate({"extra": ""}):
            continue
        version = _version(one.name)
        if version is not None and one.specifier.contains(version, prereleases=True):
            right.append(f"{one.name} {version}")
        else:
            yield _wanting(one, version)
    if other := _version(_OTHER_LIGHTNING):
        right.append(f"{_OTHER_LIGHTNING} {other}")
    yield Finding("ok", ", ".join(sorted(right)))
    yield from _extras(needed)


def _extras(needed: list[Requirement]) -> Iterator[Finding]:
    """Check the extras that are installed; what a matrix needs of others, its own check tells."""
    for extra in metadata.metadata(PACKAGE).get_all("Provides-Extra") or ():
        for one in needed if extra not in _OF_AUTHORS else ():
            version = _version(one.name)
            if one.marker is None or not one.marker.evaluate({"extra": extra}) or version is None:
                continue
            if one.specifier.contains(version, prereleases=True):
                yield Finding("ok", f"{one.name} {version}, of the extra {extra}")
            else:
                yield _wanting(one, version)


def torch(_project: Project) -> Iterator[Finding]:
    """Check the torch that probes import, and whether the driver is new enough for it."""
    try:
        gpus = len(visible_gpus())
    except HarnessError:
        gpus = 0
    try:
        # Not from the working directory: a torch.py of a stranger may lie there.
        question = [sys.executable, "-P", "-c", _QUESTION, *(["init"] if gpus else [])]
        done = run_child(question, folder="/")
    except subprocess.TimeoutExpired as error:
        yield Finding(
            "wrong",
            f"`import torch` has not ended after {error.timeout:.0f} s",
            "try `python -c 'import torch'` again: a slow disk needs it once, a driver that hangs "
            "needs a reboot",
        )
        return
    if done.returncode:
        last = next(iter(done.stderr.strip().splitlines()[-1:]), "")
        yield Finding(
            "wrong",
            f"torch cannot be imported: {cut(last or describe_exit(done.returncode))}",
            "`pip install --force-reinstall torch`, and see `python -c 'import torch'`",
        )
        return
    yield from _judge(json.loads(done.stdout.splitlines()[-1]), gpus)


def _judge(told: dict[str, Any], gpus: int) -> Iterator[Finding]:
    """Judge what the child has told of its torch, beside the GPUs that NVML sees."""
    version, cuda = told["version"], told["cuda"]
    if cuda is None:
        kind = "ROCm's build" if told["hip"] else "a build without CUDA"
        if gpus:
            public = version.partition("+")[0]
            yield Finding(
                "wrong",
                f"torch {version} is {kind}, and this machine has {_gpus(gpus)}",
                f"`pip install --force-reinstall torch=={public}`, from PyPI or from PyTorch's "
                "index for CUDA",
            )
        else:
            yield Finding("ok", f"torch {version}, {kind}: it profiles on the CPU")
        return
    try:
        newest = newest_cuda()
    except HarnessError:
        newest = None
    if newest is not None and int(cuda.split(".")[0]) > newest[0]:
        yield Finding(
            "wrong",
            f"torch {version} is built for CUDA {cuda}, and the driver supports up to "
            f"{newest[0]}.{newest[1]}",
            "update NVIDIA's driver, or install a torch that is built for an older CUDA, from "
            "PyTorch's index",
        )
        return
    if "error" in told:
        yield Finding(
            "wrong",
            f"torch {version} cannot start CUDA: {cut(told['error'])}",
            "see `python -c 'import torch; torch.cuda.init()'`",
        )
        return
    driver = f"; the driver supports up to {newest[0]}.{newest[1]}" if newest else ""
    yield Finding("ok", f"torch {version}, built for CUDA {cuda}{driver}")


def _gpus(count: int) -> str:
    return "a GPU" if count == 1 else f"{count} GPUs"


def _wanting(one: Requirement, version: str | None) -> Finding:
    wanted = f"{one.name}{one.specifier}"
    found = f"{one.name} is not installed" if version is None else f"{one.name} is {version}"
    return Finding("wrong", f"{found}, and {PACKAGE} needs {wanted}", f"`pip install '{wanted}'`")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
