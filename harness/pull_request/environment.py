"""Finds the pull request that a job of GitHub Actions or GitLab CI runs for."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from harness.bounded_file import UnreadableFileError, read_bounded
from harness.errors import HarnessError
from harness.pull_request.body import RunLink
from harness.pull_request.http_api import HttpApi
from harness.pull_request.threads import GitHubThread, GitLabThread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.pull_request.threads import Thread

# GitHub sends no larger one.
_MAX_EVENT_BYTES = 32 * 1024**2
_PULL_REQUESTS = ("pull_request", "pull_request_target")


class NoPullRequestError(HarnessError):
    """The job runs for no pull request; this is no mistake."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a CI system says of the job that runs here."""

    label: str
    """A name for its comment: that of the job."""
    run: RunLink
    environment: Mapping[str, str]

    def thread(self) -> Thread:
        """Return the pull request's comments.

        Raises NoPullRequestError when the job runs for none, and HarnessError when something is
        missing to reach it: the token above all.
        """
        if self.environment.get("GITLAB_CI"):
            return _gitlab(self.environment)
        return _github(self.environment)


def find_job() -> Job | None:
    """Return the job that runs here; None outside of GitHub Actions and GitLab CI."""
    given = os.environ
    if given.get("GITHUB_ACTIONS") == "true":
        server, repository = given.get("GITHUB_SERVER_URL"), given.get("GITHUB_REPOSITORY")
        number = given.get("GITHUB_RUN_ID")
        url = f"{server}/{repository}/actions/runs/{number}"
        known = server and repository and number
        return Job(
            given.get("GITHUB_JOB", ""), RunLink(_commit(given), url if known else ""), given
        )
    if given.get("GITLAB_CI"):
        run = RunLink(given.get("CI_COMMIT_SHA", ""), given.get("CI_JOB_URL", ""))
        return Job(given.get("CI_JOB_NAME", ""), run, given)
    return None


def _github(given: Mapping[str, str]) -> Thread:
    event = _event(given)
    name = given.get("GITHUB_EVENT_NAME", "")
    if name not in (*_PULL_REQUESTS, "workflow_run"):
        raise NoPullRequestError(
            f"no pull request belongs to a run of the event {name or 'unknown'}"
        )
    repository = _needed(given, "GITHUB_REPOSITORY")
    token = given.get("GITHUB_TOKEN", "")
    if not token:
        raise HarnessError(
            "GITHUB_TOKEN is not set: give the step `env: {GITHUB_TOKEN: ${{ github.token }}}`, and "
            "the job `permissions: {pull-requests: write}`"
        )
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
    }
    api = HttpApi(given.get("GITHUB_API_URL", "https://api.github.com"), headers, token)
    if name == "workflow_run":
        return GitHubThread(api, repository, _of_workflow_run(api, repository, event))
    number = _inside(event, "pull_request", "number")
    if not isinstance(number, int):
        raise HarnessError("the file of GITHUB_EVENT_PATH names no pull request")
    return GitHubThread(api, repository, number)


def _of_workflow_run(api: HttpApi, repository: str, event: Any) -> int:
    """Return the pull request whose newest commit a finished workflow ran for.

    GitHub leaves out the number where the pull request comes from a fork. A number in an artifact
    would be the stranger's word. So GitHub is asked for the branch, and its commit is compared.
    """
    run = event.get("workflow_run")
    commit, branch = _inside(run, "head_sha"), _inside(run, "head_branch")
    owner = _inside(run, "head_repository", "owner", "login")
    if not (isinstance(commit, str) and isinstance(branch, str) and isinstance(owner, str)):
        raise HarnessError("the file of GITHUB_EVENT_PATH names no branch of a workflow's run")
    head = quote(f"{owner}:{branch}", safe="")
    for one in api.pages(f"repos/{repository}/pulls?state=open&per_page=100&head={head}"):
        number = _inside(one, "number")
        if isinstance(number, int) and _inside(one, "head", "sha") == commit:
            return number
    raise NoPullRequestError(f"no open pull request has {commit[:12]} as its newest commit")


def _gitlab(given: Mapping[str, str]) -> Thread:
    number = given.get("CI_MERGE_REQUEST_IID", "")
    if not number:
        raise NoPullRequestError("no merge request belongs to this pipeline")
    # In a fork's pipeline CI_PROJECT_ID is the fork, and the merge request is not there.
    project = _needed(given, "CI_MERGE_REQUEST_PROJECT_ID")
    if not (number.isdecimal() and project.isdecimal()):
        raise HarnessError("CI_MERGE_REQUEST_IID and CI_MERGE_REQUEST_PROJECT_ID must be numbers")
    token = given.get("GITLAB_TOKEN", "")
    if not token:
        raise HarnessError(
            "GITLAB_TOKEN is not set: make an access token of the project with the scope `api` and "
            "the role Reporter, and a masked CI/CD variable of it; a job's own token may write no "
            "notes"
        )
    api = HttpApi(_needed(given, "CI_API_V4_URL"), {"PRIVATE-TOKEN": token}, token)
    page = f"{given.get('CI_MERGE_REQUEST_PROJECT_URL', '')}/-/merge_requests/{number}"
    return GitLabThread(api, int(project), int(number), page)


def _needed(given: Mapping[str, str], name: str) -> str:
    value = given.get(name, "")
    if not value:
        raise HarnessError(f"{name} is not set, which the CI system sets for each job")
    return value


def _commit(given: Mapping[str, str]) -> str:
    """Return the newest commit of the pull request; GITHUB_SHA is that of a trial merge."""
    try:
        event = _event(given)
    except HarnessError:
        return ""
    for path in (("pull_request", "head", "sha"), ("workflow_run", "head_sha")):
        commit = _inside(event, *path)
        if isinstance(commit, str):
            return commit
    return given.get("GITHUB_SHA", "")


def _event(given: Mapping[str, str]) -> dict[str, Any]:
    path = given.get("GITHUB_EVENT_PATH", "")
    try:
        data = read_bounded(Path(path), _MAX_EVENT_BYTES) if path else None
        event = json.loads(data or b"{}")
    except (UnreadableFileError, ValueError, RecursionError) as error:
        raise HarnessError(f"{path}, which GITHUB_EVENT_PATH names: {error}") from error
    return event if isinstance(event, dict) else {}


def _inside(data: Any, *names: str) -> Any:
    for name in names:
        data = data.get(name) if isinstance(data, dict) else None
    return data
