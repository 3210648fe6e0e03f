"""Runs the steps of the composite action as GitHub does: inputs and environment put in, by bash."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ACTION = Path(__file__).parents[2] / "action.yml"
_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}")


@dataclass
class Ended:
    """What the steps have done."""

    codes: dict[str, int] = field(default_factory=dict)
    """The exit code of each step that ran, by its name; the action fails where one is not 0."""
    printed: str = ""
    uploaded: dict[str, Any] = field(default_factory=dict)
    """What the step that uploads the results was given; empty where it did not run."""
    outputs: dict[str, str] = field(default_factory=dict)
    """The outputs of the step `prepare`."""


def action() -> dict[str, Any]:
    """Return the action's file."""
    loaded: dict[str, Any] = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    return loaded


def run_steps(
    workspace: Path, inputs: dict[str, str], environment: dict[str, str], matrix: str = ""
) -> Ended:
    """Run the action in a checkout.

    matrix: the values of the job's matrix, with blanks between them.
    """
    file = action()
    values = {name: one.get("default", "") for name, one in file["inputs"].items()} | inputs
    ended = Ended()
    failed = False
    for step in file["runs"]["steps"]:
        known = {f"inputs.{name}": value for name, value in values.items()}
        known |= {f"steps.prepare.outputs.{name}": one for name, one in ended.outputs.items()}
        known |= {"join(matrix.*, ' ')": matrix, "github.token": "no token"}
        prepared = ended.codes.get("Prepare") == 0
        terms = {
            "!cancelled()": True,
            "steps.prepare.outcome == 'success'": prepared,
            "inputs.comment == 'true'": values["comment"] == "true",
        }
        condition = step.get("if")
        if not all(terms[one] for one in _inside(condition).split(" && ")) if condition else failed:
            continue
        if "uses" in step:
            ended.uploaded = {
                name: _filled(str(value), known) for name, value in step["with"].items()
            }
            continue
        assert "${{" not in step["run"], "an expression in a script is an injection"
        output = workspace / f".output-{len(ended.codes)}"
        given = {name: _filled(value, known) for name, value in step.get("env", {}).items()}
        done = subprocess.run(
            ["/bin/bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=workspace / _filled(step["working-directory"], known),
            env={**os.environ, **environment, **given, "GITHUB_OUTPUT": str(output)},
            capture_output=True,
            text=True,
            check=False,
        )
        ended.codes[step["name"]] = done.returncode
        ended.printed += done.stdout + done.stderr
        failed = failed or done.returncode != 0
        if step.get("id") == "prepare" and output.exists():
            lines = output.read_text(encoding="utf-8").splitlines()
            ended.outputs = dict(line.split("=", 1) for line in lines)
    return ended


def _filled(text: str, known: dict[str, str]) -> str:
    """Return a text with its expressions replaced by their values."""
    return _EXPRESSION.sub(lambda found: known[found[1].strip()], text)


def _inside(condition: str) -> str:
    found = _EXPRESSION.fullmatch(condition)
    assert found is not None
    return found[1].strip()
