"""The composite action: its steps, run by bash in a real project, against a server of comments."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from action_steps import Ended, action, run_steps
from fake_forge import TOKEN, Forge, running_forge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from projects import Project

ROOT = str(Path(__file__).parents[2])
# Stands for Python where a test is about what it is asked: it tells its arguments.
TELLING = """\
#!/bin/bash
printf '<%s>' "$(basename "$0")" "${PYTEST_ADDOPTS-}" "$@" >> asked
echo >> asked
"""


@pytest.fixture
def forge() -> Iterator[Forge]:
    """Start a server of comments."""
    with running_forge() as server:
        yield server


def environment(workspace: Path, forge: Forge) -> dict[str, str]:
    """Return what GitHub sets for the job `profile` of pull request 7."""
    event = workspace / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 7, "head": {"sha": "a" * 40}}}))
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_ACTION_PATH": ROOT,
        "GITHUB_API_URL": forge.url,
        "GITHUB_EVENT_NAME": "pull_request",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_JOB": "profile",
        "GITHUB_REPOSITORY": "o/r",
        "GITHUB_RUN_ID": "5",
        "GITHUB_SERVER_URL": "https://github.example",
        "GITHUB_STEP_SUMMARY": str(workspace / "summary.md"),
        "GITHUB_WORKSPACE": str(workspace),
        "PYTHONPATH": ROOT,
    }


def told(workspace: Path, forge: Forge, matrix: str = "", **inputs: str) -> tuple[Ended, list[str]]:
    """Run the steps with a Python that only tells what it is asked; return that, too."""
    python = workspace / "telling"
    python.write_text(TELLING, encoding="utf-8")
    python.chmod(0o755)
    given = {
        "python": "./telling -X",
        **{name.replace("_", "-"): one for name, one in inputs.items()},
    }
    ended = run_steps(workspace, given, environment(workspace, forge), matrix)
    asked = workspace / "asked"
    return ended, asked.read_text(encoding="utf-8").splitlines() if asked.exists() else []


def test_failed_case_fails_the_action_and_is_commented(project: Project, forge: Forge) -> None:
    """The exit code is pytest's; comment, annotation, summary and results are there."""
    variables = environment(project.path, forge)
    given = {"mode": "measure", "python": sys.executable, "token": TOKEN}
    ended = run_steps(project.path, given, variables)
    assert {"Prepare": 0, "Run": 1, "Comment": 0} == ended.codes, ended.printed
    (body,) = forge.bodies
    assert "### GPU profiles: profile\n\n1 failed\n" in body, f"{body}\n{ended.printed}"
    assert "**failed** `net-cpu-48MiB-1`: never locked on cpu, 48.0 MiB\n" in body
    assert "::error file=profiles/matrix.yaml,line=7,title=net-cpu-48MiB-1::never" in ended.printed
    assert (project.path / "summary.md").read_text().startswith("# GPU profiles")
    assert {
        "name": "gpu-profile-profile",
        "path": "./.gpu-profile",
        "include-hidden-files": "True",
        "overwrite": "True",
    } == ended.uploaded
    assert (project.path / ended.uploaded["path"] / "candidate.lock").exists()
    assert TOKEN not in ended.printed


def test_modes_and_arguments_reach_pytest(tmp_path: Path, forge: Forge) -> None:
    """`predict` is the default; arguments go to pytest, which takes them apart."""
    _, asked = told(tmp_path, forge, arguments='-k "a or b"')
    assert (
        '<telling>< -k "a or b"><-X><-m><pytest><--gpu-profile><--gpu-profile-predict>' == asked[1]
    )
    (tmp_path / "asked").unlink()
    ended, asked = told(tmp_path, forge, mode="measure", comment="false")
    assert "<telling>< ><-X><-m><pytest><--gpu-profile>" == asked[1]
    assert ["Prepare", "Run"] == list(ended.codes)


def test_wrong_mode_ends_before_anything_runs(tmp_path: Path, forge: Forge) -> None:
    """The error says what is allowed, and is an annotation."""
    ended, asked = told(tmp_path, forge, mode="profile")
    assert ({"Prepare": 2}, []) == (ended.codes, asked)
    assert "::error title=gpu-profile::mode must be predict or measure\n" == ended.printed
    assert {} == ended.uploaded


@pytest.mark.parametrize(
    ("label", "matrix", "expected"),
    [
        ("", "", ("profile", "gpu-profile-profile")),
        ("", "h100 3.12", ("profile h100 3.12", "gpu-profile-profile-h100-3.12")),
        ("A/B", "h100", ("A/B", "gpu-profile-A-B")),
        ("a\nartifact=x\r", "", ("a artifact=x ", "gpu-profile-a-artifact-x-")),
    ],
)
def test_label_of_comment_and_artifact(
    tmp_path: Path, forge: Forge, label: str, matrix: str, expected: tuple[str, str]
) -> None:
    """It is that of the job and its matrix, unless one is given; it sets no output of its own."""
    ended, asked = told(tmp_path, forge, matrix, label=label)
    assert {"label": expected[0], "artifact": expected[1]} == ended.outputs
    assert expected[1] == ended.uploaded["name"]
    assert asked[-1].endswith(f"<comment><--label><{expected[0]}>")


def test_inputs_run_no_commands(tmp_path: Path, forge: Forge) -> None:
    """Whatever stands in an input, bash takes it as text."""
    evil = "$(touch owned) `touch owned` \"; touch owned; ' && touch owned\ntouch owned #"
    told(tmp_path, forge, evil, label=evil, arguments=evil, token=evil)
    told(tmp_path, forge, evil, mode=evil)
    run_steps(tmp_path, {"python": evil}, environment(tmp_path, forge))
    assert not (tmp_path / "owned").exists()


def test_failed_comment_is_a_warning(tmp_path: Path, forge: Forge) -> None:
    """The verdict of the job is that of the cases: a server in trouble does not change it."""
    (tmp_path / "false").write_text('#!/bin/bash\n[ "$1" != -P ]\n', encoding="utf-8")
    (tmp_path / "false").chmod(0o755)
    ended = run_steps(tmp_path, {"python": "./false"}, environment(tmp_path, forge))
    assert {"Prepare": 0, "Run": 0, "Comment": 0} == ended.codes
    assert "::warning title=gpu-profile::the comment could not be written" in ended.printed


def test_plugin_that_is_missing_is_installed_from_the_action(tmp_path: Path, forge: Forge) -> None:
    """A version that is there stays; else that of the action's own checkout is installed."""
    script = TELLING + '[ "$1" != -c ]\n'
    (tmp_path / "bare").write_text(script, encoding="utf-8")
    (tmp_path / "bare").chmod(0o755)
    run_steps(tmp_path, {"python": "./bare"}, environment(tmp_path, forge))
    asked = (tmp_path / "asked").read_text(encoding="utf-8").splitlines()
    assert f"<bare><><-m><pip><install><{ROOT}>" == asked[1]


def test_inputs_are_documented() -> None:
    """The page on pull requests has a row for each input, with its default."""
    page = Path(ROOT, "docs", "pull-requests.md").read_text(encoding="utf-8")
    for name, one in action()["inputs"].items():
        default = str(one["default"]) or "empty"
        assert f"| `{name}` | `{default}` |" in page or f"| `{name}` | {default} |" in page, name
