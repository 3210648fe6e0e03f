"""The verb `comment`: writes a run's results under the pull request that the run is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from harness.cli.answers.answer import Answer
from harness.cli.common import say, say_aside
from harness.errors import HarnessError
from harness.pull_request.body import RunLink, render_comment, render_missing
from harness.pull_request.environment import NoPullRequestError, find_job
from harness.pull_request.http_api import ApiError
from harness.pull_request.reported import read_reports
from harness.pull_request.sticky import marker, put

if TYPE_CHECKING:
    import argparse

    from harness.run.paths import Paths

_FORBIDDEN = 403


class CommentDocument(TypedDict):
    """The comment of a run."""

    body: str
    """The text, as Markdown, with the hidden marker that finds it again."""
    url: str | None
    """The page of the comment; null where none was written."""
    reason: str | None
    """Why none was written: no pull request, no right to write, or `--dry-run`."""


def comment(options: argparse.Namespace, paths: Paths) -> Answer:
    """Write or replace the comment; if there is no pull request, or no right to, only say so."""
    job = find_job()
    if job is None and not options.dry_run:
        raise HarnessError(
            "this is no job of GitHub Actions or GitLab CI, so there is no pull request to comment "
            "on; --dry-run prints the comment"
        )
    label = options.label
    if label is None:
        label = "" if job is None else job.label
    run = RunLink("", "") if job is None else job.run
    report = paths.results / "report.json"
    if options.reports or report.exists() or job is None:
        text = render_comment(label, read_reports(options.reports or [report]), run)
    else:
        text = render_missing(label, run)
    body = f"{marker(label)}\n{text}"
    if job is None or options.dry_run:
        say(body.rstrip("\n"))
        return _not_written(body, "--dry-run")
    try:
        written, new = put(job.thread(), marker(label), body)
    except NoPullRequestError as error:
        say_aside(f"no comment: {error}")
        return _not_written(body, str(error))
    except ApiError as error:
        if error.status != _FORBIDDEN:
            raise
        # Nobody can mend this for a stranger's fork, so the job must not fail for it.
        say_aside(
            f"no comment: {error}; the token may not write here, as always in a pull request from "
            "a fork; else give the job `permissions: {pull-requests: write}`"
        )
        return _not_written(body, str(error))
    say(f"{'wrote' if new else 'replaced'} the comment {written.url}")
    document: CommentDocument = {"body": body, "url": written.url, "reason": None}
    return Answer(0, document)


def _not_written(body: str, reason: str) -> Answer:
    document: CommentDocument = {"body": body, "url": None, "reason": reason}
    return Answer(0, document)
