"""Writes the test module and the CI workflow beside a matrix, and never replaces a file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.wording import shown_path

if TYPE_CHECKING:
    from harness.starting.machine import Machine

TEST_MODULE = "from harness.testing import test_gpu_profile\n"
"""A user's whole test module."""
PACKAGE = "/path/to/pytest-gpu-profile"
"""Stands in the workflow for the place that pip installs this package from."""

_JOB = """\
  {name}:
    runs-on: {runner}
    timeout-minutes: 60
    permissions: {{contents: read, pull-requests: write}}
    steps:
      - uses: actions/checkout@v4
{note}      - run: pip install {project}{package}
      - run: pytest --gpu-profile{flags}
      - uses: actions/upload-artifact@v4
        if: always()  # candidate.lock matters most when the run failed
        with:
          name: gpu-profile-{name}
          path: {results}
          include-hidden-files: true  # the folder's name begins with a dot
      - run: gpu-profile comment
        if: ${{{{ !cancelled() }}}}
        continue-on-error: true  # the verdict is that of the cases
        env:
          GITHUB_TOKEN: ${{{{ github.token }}}}
"""
_CUDA = "      # torch's CUDA build, as on PyPI: some gigabytes, so keep pip's cache between runs\n"


def workflow_text(root: Path, top: Path, machine: Machine) -> str:
    """Return a workflow for GitHub that measures, and predicts where there is no GPU.

    root: the project. top: the repository, in which the project may be a folder.
    """
    below = root.relative_to(top).as_posix()
    project = "-e . " if _is_installable(root) else ""
    if (root / "requirements.txt").is_file():
        project = f"-r requirements.txt {project}"
    results = ".gpu-profile" if below == "." else json.dumps(f"{below}/.gpu-profile")

    def job(name: str, runner: str, note: str = "", flags: str = "") -> str:
        return _JOB.format(
            name=name,
            runner=runner,
            note=note,
            flags=flags,
            project=project,
            package=PACKAGE,
            results=results,
        )

    text = "name: gpu-profile\non: pull_request\n"
    if below != ".":
        text += f"defaults:\n  run:\n    working-directory: {json.dumps(below)}\n"
    text += "jobs:\n"
    measures = job("measure", "[self-hosted, gpu]")
    predicts = job("predict", "ubuntu-latest", _CUDA, " --gpu-profile-predict")
    if machine.has_gpu:
        return f"{text}{measures}{predicts}"
    later = "".join(f"  # {line[2:]}\n" for line in f"{measures}{predicts}".splitlines())
    return (
        f"{text}{job('measure-cpu', 'ubuntu-latest')}"
        f"  # Once the matrix has a GPU: a runner that has it measures, any other predicts.\n{later}"
    )


def repository(root: Path) -> Path:
    """Return the folder of the git repository around a project, or else the project's own."""
    return next((one for one in (root, *root.parents) if (one / ".git").exists()), root)


def write_new(path: Path, text: str, top: Path) -> bool:
    """Write a file if nothing stands in its place, and return whether it was written.

    Raises HarnessError where a link leads out of the folder `top`.
    """
    if os.path.lexists(path):
        return False
    if not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(top)):
        raise HarnessError(
            f"{shown_path(path)}: a link leads out of {top}, so nothing is written there"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Not a file, nor a link, that another has put there meanwhile.
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def _is_installable(root: Path) -> bool:
    try:
        text = (root / "pyproject.toml").read_text(encoding="utf-8")
    except (OSError, ValueError):
        text = ""
    return "[project]" in text or "[build-system]" in text or (root / "setup.py").is_file()
