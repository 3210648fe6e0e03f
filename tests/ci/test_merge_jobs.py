"""The jobs that merge what several runners measured, on GitHub and GitLab: their scripts, run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from fake_forge import TOKEN, Forge, running_forge
from lock_texts import run_of
from measurements import A100, locked

from harness.lockfile.profiles import read_lock
from harness.lockfile.write import update_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
COMMAND = """\
#!/bin/sh
exec {python} -P -c 'import sys; from harness.cli import main; sys.exit(main())' "$@"
"""
H200, OTHER = "resnet18-h200-224", "resnet18-a100-224"


@pytest.fixture
def forge() -> Iterator[Forge]:
    """Start a server of comments."""
    with running_forge() as server:
        yield server


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a checkout with a lock, and a folder with commands for the scripts."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (tmp_path / "bin").mkdir()
    update_lock(tmp_path / "profiles" / "gpu-profile.lock", [locked()])
    for name, text in (
        ("gpu-profile", COMMAND.format(python=sys.executable)),
        ("pip", '#!/bin/sh\necho pip "$@" >> asked\n'),
        ("pytest", '#!/bin/sh\necho pytest "$PYTEST_ADDOPTS" "$@" >> asked\n'),
    ):
        (tmp_path / "bin" / name).write_text(text, encoding="utf-8")
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def bash(checkout: Path, script: str, environment: dict[str, Any]) -> tuple[int, str]:
    """Run a script; return its exit code, and what it printed."""
    done = subprocess.run(
        ["/bin/bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=checkout,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PATH": f"{checkout / 'bin'}:{os.environ['PATH']}",
            **{name: str(value) for name, value in environment.items()},
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def sizes(checkout: Path) -> dict[str, int]:
    """Return the batch sizes of the checkout's lock by case."""
    lock = read_lock(checkout / "profiles" / "gpu-profile.lock")
    return {profile.case_id: profile.batch_size for profile in lock}


def github_step(name: str) -> str:
    """Return the script of a step of the job that merges."""
    path = ROOT / ".github" / "workflows" / "gpu-profile.yml"
    steps = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]["merge"]["steps"]
    return str(next(step["run"] for step in steps if step.get("name") == name))


def github(checkout: Path, forge: Forge) -> dict[str, Any]:
    """Return the environment of the steps: inputs, and what GitHub sets."""
    event = checkout / "event.json"
    event.write_text('{"pull_request": {"number": 7}}', encoding="utf-8")
    return {
        "LOCK": "profiles/gpu-profile.lock",
        "NAME": "gpu-profile",
        "RUNS": checkout / "runs",
        "GITHUB_ACTIONS": "true",
        "GITHUB_API_URL": forge.url,
        "GITHUB_EVENT_NAME": "pull_request",
        "GITHUB_EVENT_PATH": event,
        "GITHUB_REPOSITORY": "o/r",
        "GITHUB_TOKEN": TOKEN,
    }


def test_github_merges_all_runners_and_comments_once(checkout: Path, forge: Forge) -> None:
    """What each runner measured is in the lock, and in one comment."""
    lock = checkout / "runs" / "gpu-profile.lock"
    lock.parent.mkdir()
    update_lock(lock, [locked()])
    run_of(lock, "gpu-profile-0", locked(batch_size=3000))
    run_of(lock, "gpu-profile-1", locked(gpu="a100", device=A100))
    given = github(checkout, forge)
    code, printed = bash(checkout, github_step("Merge"), given)
    assert (0, {H200: 3000, OTHER: 3328}) == (code, sizes(checkout)), printed
    assert 0 == bash(checkout, github_step("Comment"), given)[0]
    assert ["<!-- gpu-profile: gpu-profile -->"] == [body.split("\n")[0] for body in forge.bodies]
    assert 3 == forge.bodies[0].count(" passed")


def test_github_without_any_results(checkout: Path, forge: Forge) -> None:
    """No runner has left anything: the lock stays, and the comment says that nothing ran."""
    given = github(checkout, forge)
    expected = (0, "no runner has left a candidate\n")
    assert expected == bash(checkout, github_step("Merge"), given)
    assert 0 == bash(checkout, github_step("Comment"), given)[0]
    assert {H200: 3328} == sizes(checkout)
    assert "The run left no report" in forge.bodies[0]


def gitlab(job: str) -> tuple[str, str, dict[str, Any]]:
    """Return script, after_script and variables of a job of the template."""
    path = ROOT / "docs" / "examples" / "gitlab-ci.yml"
    file = yaml.safe_load(path.read_text(encoding="utf-8"))
    one = file[job]
    return "\n".join(one["script"]), "\n".join(one.get("after_script", ())), file["variables"]


def test_gitlab_merges_and_notes(checkout: Path, forge: Forge) -> None:
    """The same on GitLab, whose note is written by the project's token."""
    lock = checkout / "gpu-profile-runs" / "gpu-profile.lock"
    lock.parent.mkdir()
    update_lock(lock, [locked()])
    run_of(lock, "measure-1", locked(batch_size=3000))
    run_of(lock, "measure-2", locked(gpu="a100", device=A100))
    script, after, variables = gitlab("gpu-profile-merge")
    given = variables | {
        "GITLAB_CI": "true",
        "CI_API_V4_URL": forge.url,
        "CI_MERGE_REQUEST_IID": 7,
        "CI_MERGE_REQUEST_PROJECT_ID": 3,
        "GITLAB_TOKEN": TOKEN,
    }
    code, printed = bash(checkout, script, given)
    assert (0, {H200: 3000, OTHER: 3328}) == (code, sizes(checkout)), printed
    assert 0 == bash(checkout, after, given)[0]
    assert ["<!-- gpu-profile: measure -->"] == [body.split("\n")[0] for body in forge.bodies]


def test_gitlab_runs(checkout: Path) -> None:
    """The other jobs install, and call pytest with a folder for each runner."""
    for job, more in (("gpu-profile-predict", {}), ("gpu-profile-measure", {"CI_NODE_INDEX": 2})):
        script, _, variables = gitlab(job)
        code, printed = bash(checkout, script, {**variables, **more, "PYTEST_ADDOPTS": "-k x"})
        assert 0 == code, printed
    install = "pip install -e . pytest-gpu-profile"
    predict, measure = "gpu-profile-runs/predict", "gpu-profile-runs/measure-2"
    assert f"""\
{install}
pytest -k x --gpu-profile --gpu-profile-predict --gpu-profile-dir {predict} --junitxml {predict}/junit.xml
{install}
pytest -k x --gpu-profile --gpu-profile-dir {measure} --junitxml {measure}/junit.xml
""" == (checkout / "asked").read_text(encoding="utf-8")
