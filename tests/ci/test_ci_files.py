"""Workflows, action, hooks and templates are valid by the published schemas, examples included."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from harness.starting.machine import Machine, of_cpu
from harness.starting.other_files import workflow_text

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / name for name in ("ci.md", "pull-requests.md")]
H200 = Machine({"h200": {"name": "NVIDIA H200"}}, "NVIDIA H200")


def check(schema: str, *paths: Path) -> None:
    """Check files by a schema that check-jsonschema has with it: it asks no server."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run([*command, *map(str, paths)], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr


def examples(mark: str) -> list[str]:
    """Return the blocks of YAML in the pages that have a line with this beginning."""
    found = [
        block
        for page in PAGES
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        if re.search(rf"^{mark}", block, re.MULTILINE)
    ]
    assert found
    return found


def test_action() -> None:
    """`action.yml` is the metadata of an action."""
    check("github-actions", ROOT / "action.yml")


def test_workflows(tmp_path: Path) -> None:
    """The repository's, those of the documents, and those that `gpu-profile init` writes."""
    made = [workflow_text(tmp_path, tmp_path, one) for one in (H200, of_cpu(8 << 30, "no GPU"))]
    paths = [*(ROOT / ".github" / "workflows").glob("*.yml")]
    for number, text in enumerate([*made, *examples("on:")]):
        path = tmp_path / f"{number}.yml"
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    assert len(paths) >= 6
    check("github-workflows", *paths)


def test_gitlab_template(tmp_path: Path) -> None:
    """The template, and what the page shows to include it."""
    included = tmp_path / "gitlab.yml"
    included.write_text(examples("include:")[0], encoding="utf-8")
    check("gitlab-ci", ROOT / "docs" / "examples" / "gitlab-ci.yml", included)


@pytest.mark.parametrize(
    "path",
    ["action.yml", *(f".github/workflows/{name}.yml" for name in ("gpu-profile", "release"))],
)
def test_scripts_hold_no_expressions(path: str) -> None:
    """What others choose reaches a script by its environment, never as a part of its text."""
    file = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    steps = (
        file["runs"]["steps"]
        if "runs" in file
        else [step for job in file["jobs"].values() for step in job["steps"]]
    )
    runs = [step["run"] for step in steps if "run" in step]
    assert ([], True) == ([one for one in runs if "${{" in one], bool(runs))


@pytest.mark.parametrize("path", ["action.yml", ".github/workflows/gpu-profile.yml"])
def test_scripts_parse(path: str) -> None:
    """Each script is one that bash can read."""
    file = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    jobs = [file["runs"]] if "runs" in file else file["jobs"].values()
    scripts = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    assert scripts
    for script in scripts:
        done = subprocess.run(
            ["/bin/bash", "-n", "-c", script], capture_output=True, text=True, check=False
        )
        assert ("", 0) == (done.stderr, done.returncode)


def test_hooks() -> None:
    """pre-commit reads the hooks, and knows all of their keys."""
    command = [sys.executable, "-m", "pre_commit", "validate-manifest"]
    done = subprocess.run(
        [*command, str(ROOT / ".pre-commit-hooks.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stdout + done.stderr)
