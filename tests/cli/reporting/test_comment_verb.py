"""`gpu-profile comment` keeps one comment up to date, over real HTTP, whatever the server does."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from case_results import several
from fake_forge import STRANGER, TOKEN, Forge, Reply, running_forge

from harness import report
from harness.cli.command_line import main
from harness.pull_request import http_api
from harness.pull_request.http_api import ApiError, HttpApi
from harness.pull_request.sticky import marker, put
from harness.pull_request.threads import GitHubThread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from command_line import Output

MARK = "<!-- gpu-profile: measure -->"
EVENT = {"pull_request": {"number": 7, "head": {"sha": "a" * 40}}}


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch) -> Iterator[Forge]:
    """Start a server of comments; what it fails to answer is tried again at once."""
    monkeypatch.setattr(http_api, "_FIRST_WAIT_SECONDS", 0.0)
    with running_forge() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a project whose last run has left a report."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (tmp_path / ".gpu-profile").mkdir()
    data = json.dumps(report.render_json(several()))
    (tmp_path / ".gpu-profile" / "report.json").write_text(data, encoding="utf-8")
    return tmp_path


@pytest.fixture
def github(folder: Path, forge: Forge, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work as in a step of the job `measure` of GitHub Actions."""
    write_event(folder, monkeypatch, "pull_request", EVENT)
    for name, value in {
        "GITHUB_ACTIONS": "true",
        "GITHUB_API_URL": forge.url,
        "GITHUB_REPOSITORY": "o/r",
        "GITHUB_SERVER_URL": "https://github.example",
        "GITHUB_RUN_ID": "5",
        "GITHUB_JOB": "measure",
        "GITHUB_TOKEN": TOKEN,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("GITLAB_CI", raising=False)
    return folder


@pytest.fixture
def gitlab(folder: Path, forge: Forge, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work as in the job `measure` of GitLab CI."""
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    for name, value in {
        "GITLAB_CI": "true",
        "CI_API_V4_URL": f"{forge.url}/api/v4",
        "CI_MERGE_REQUEST_IID": "7",
        "CI_MERGE_REQUEST_PROJECT_ID": "3",
        "CI_MERGE_REQUEST_PROJECT_URL": "https://gitlab.example/o/r",
        "CI_COMMIT_SHA": "b" * 40,
        "CI_JOB_NAME": "measure",
        "CI_JOB_URL": "https://gitlab.example/o/r/-/jobs/5",
        "GITLAB_TOKEN": TOKEN,
    }.items():
        monkeypatch.setenv(name, value)
    return folder


def write_event(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, event: Any) -> None:
    """Write the file of the event that has started the workflow."""
    (folder / "event.json").write_text(json.dumps(event), encoding="utf-8")
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(folder / "event.json"))
    monkeypatch.setenv("GITHUB_EVENT_NAME", name)


def test_first_run_writes_and_the_second_replaces(
    github: Path, forge: Forge, capsys: Output
) -> None:
    """There is one comment, at the first place, with the values of the last run."""
    assert 0 == main(["comment"])
    assert (
        "wrote the comment https://forge.example/pull/7#issuecomment-1\n" == capsys.readouterr().out
    )
    (first,) = forge.bodies
    (github / ".gpu-profile" / "report.json").write_text('{"cases": []}', encoding="utf-8")
    assert 0 == main(["comment"])
    assert "replaced the comment" in capsys.readouterr().out
    (second,) = forge.bodies
    assert (True, True) == (first.startswith(MARK), "1 error, 2 failed" in first)
    assert "No case ran." in second


def test_token_is_sent_and_never_shown(github: Path, forge: Forge, capsys: Output) -> None:
    """The server gets the token in a header; a server that repeats it does not get it printed."""
    forge.replies.append(("POST", Reply(422, json.dumps({"message": f"bad {TOKEN}"}))))
    assert 2 == main(["comment"])
    printed = capsys.readouterr()
    assert {f"Bearer {TOKEN}"} == {one.headers["authorization"] for one in forge.seen}
    assert f"gpu-profile: {forge.url[7:]} answered 422: bad ***\n" == printed.err
    assert TOKEN not in printed.out


def test_comment_is_found_on_the_third_page(github: Path, forge: Forge) -> None:
    """The list is followed to its end, by the links that the server gives."""
    forge.page_size = 2
    for number in range(5):
        forge.add(f"talk {number}")
    forge.add(f"{MARK}\nold")
    assert 0 == main(["comment"])
    assert ["GET", "GET", "GET", "PATCH"] == forge.methods()
    assert (6, True) == (len(forge.bodies), forge.bodies[5].startswith(f"{MARK}\n### GPU profiles"))


def test_strangers_comment_is_left(github: Path, forge: Forge) -> None:
    """A comment of somebody without rights, with the marker, is not taken: they could change it."""
    forge.add(f"{MARK}\nmine", STRANGER)
    assert 0 == main(["comment"])
    assert (f"{MARK}\nmine", 2) == (forge.bodies[0], len(forge.bodies))


def test_each_label_has_its_own(github: Path, forge: Forge) -> None:
    """Jobs with other labels do not replace each other's comments."""
    for label in ("H100", "A100 --> <b>", "H100"):
        assert 0 == main(["comment", "--label", label])
    assert [
        "<!-- gpu-profile: H100 -->",
        "<!-- gpu-profile: A100 --%3E %3Cb%3E -->",
    ] == [body.partition("\n")[0] for body in forge.bodies]


def test_two_jobs_at_once_leave_one_comment(forge: Forge) -> None:
    """Both find none and write one each; the older one stays, and the other goes."""
    both = threading.Barrier(2, timeout=30)

    def wait_for_the_other(request: Any) -> None:
        if request.method == "POST":
            both.wait()

    forge.before = wait_for_the_other
    threads = [
        threading.Thread(target=put, args=(thread_of(forge), MARK, f"{MARK} {number}"))
        for number in range(2)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert (1, True) == (len(forge.bodies), forge.bodies[0].startswith(MARK))


def thread_of(forge: Forge, seconds: float = 20.0) -> GitHubThread:
    """Return pull request 7 of the server."""
    return GitHubThread(HttpApi(forge.url, {}, "", seconds=seconds), "o/r", 7)


def test_fork_is_told_in_one_line_and_is_no_failure(
    github: Path, forge: Forge, capsys: Output
) -> None:
    """A token that may not write, as in a fork's pull request, does not fail the job."""
    forge.replies.append(("POST", Reply(403, '{"message": "Resource not accessible"}')))
    assert 0 == main(["comment"])
    told = capsys.readouterr().err
    assert 1 == told.count("\n")
    assert "answered 403: Resource not accessible; the token may not write here" in told


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500),
        Reply(502, "<html>"),
        Reply(429, headers=(("Retry-After", "0"),)),
        Reply(403, headers=(("x-ratelimit-remaining", "0"), ("Retry-After", "0"))),
    ],
)
def test_passing_trouble_is_tried_again(github: Path, forge: Forge, reply: Reply) -> None:
    """A busy server is asked again, after the time that it names."""
    forge.replies += [("GET", reply), ("POST", reply)]
    assert 0 == main(["comment"])
    assert (["GET", "GET", "POST", "POST", "GET"], 1) == (forge.methods(), len(forge.bodies))


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply(404, '{"message": "Not Found"}'), "answered 404: Not Found"),
        (Reply(200, "<html>"), "answered 200 with what is not JSON: <html>"),
        (Reply(200, "[" * 100_000), "with what is not JSON"),
        (Reply(200, '{"a": 1}'), 'answered with no list: {"a": 1}'),
        (Reply(200, '[{"user": {"type": "Bot"}}]'), "the server's answer has no id"),
        (Reply(200, "\x1b[2J::error::x"), "\\x1b[2J"),
    ],
)
def test_wrong_answers_are_told(
    github: Path, forge: Forge, capsys: Output, reply: Reply, told: str
) -> None:
    """Each ends with exit code 2 and one line that names the server and what it said."""
    forge.replies.append(("GET", reply))
    assert 2 == main(["comment"])
    error = capsys.readouterr().err
    assert (1, True) == (error.count("\n"), told in error)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(302, headers=(("Location", "{other}/x"),)),
        Reply(307, headers=(("Location", "{other}/x"),)),
        Reply(200, "[]", headers=(("Link", '<{other}/x>; rel="next"'),)),
    ],
)
def test_token_goes_to_no_other_server(
    github: Path, forge: Forge, capsys: Output, reply: Reply
) -> None:
    """Neither a redirect nor a next page on another server is asked."""
    with running_forge() as other:
        headers = tuple((name, value.format(other=other.url)) for name, value in reply.headers)
        forge.replies.append(("GET", reply._replace(headers=headers)))
        assert 2 == main(["comment"])
    assert [] == other.seen
    assert "another server" in capsys.readouterr().err


def test_redirect_on_the_same_server_is_followed(github: Path, forge: Forge) -> None:
    """A repository that was renamed is found, and the request keeps its method."""
    moved = f"{forge.url}/repositories/1/issues/7/comments"
    for method in ("GET", "POST"):
        forge.replies.append((method, Reply(307, headers=(("Location", moved),))))
    assert 0 == main(["comment"])
    assert ["GET", "GET", "POST", "POST", "GET"] == forge.methods()


def test_circle_of_redirects_ends(github: Path, forge: Forge, capsys: Output) -> None:
    """A server that redirects for ever is left."""
    here = (("Location", "/x"),)
    forge.replies += [("GET", Reply(302, headers=here)) for _ in range(9)]
    assert 2 == main(["comment"])
    assert "redirects in a circle" in capsys.readouterr().err


def test_hanging_server_is_left(forge: Forge) -> None:
    """A server that does not answer is asked four times, and then told."""
    release = threading.Event()
    forge.before = lambda _: (release.wait(30), None)[1]
    try:
        with pytest.raises(ApiError, match=r"cannot be asked: no answer within 0\.05 seconds"):
            put(thread_of(forge, 0.05), MARK, MARK)
    finally:
        release.set()
    assert ["GET"] * 4 == forge.methods()


def test_absent_server_is_told(
    github: Path, forge: Forge, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """A refused connection is told, with its host."""
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:9")
    assert 2 == main(["comment"])
    assert "127.0.0.1:9 cannot be asked: URLError: [Errno 111]" in capsys.readouterr().err


def test_url_that_is_none_is_refused(
    github: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """The API's URL must be one of HTTP: urllib would also read files."""
    monkeypatch.setenv("GITHUB_API_URL", "file:///etc/passwd")
    assert 2 == main(["comment"])
    assert "file:///etc/passwd is no URL of an API" in capsys.readouterr().err


def test_run_without_a_pull_request_says_so(
    github: Path, monkeypatch: pytest.MonkeyPatch, forge: Forge, capsys: Output
) -> None:
    """There is nothing to comment on, which is no failure."""
    write_event(github, monkeypatch, "push", {})
    assert 0 == main(["comment"])
    assert (
        "no comment: no pull request belongs to a run of the event push\n"
        == capsys.readouterr().err
    )
    assert [] == forge.seen


def test_workflow_run_of_a_fork_finds_its_pull_request(
    github: Path, monkeypatch: pytest.MonkeyPatch, forge: Forge, capsys: Output
) -> None:
    """It is looked up by the fork's branch, and only its newest commit counts."""
    run = {
        "head_sha": "c" * 40,
        "head_branch": "a&b",
        "head_repository": {"owner": {"login": "eve"}},
    }
    write_event(github, monkeypatch, "workflow_run", {"workflow_run": {**run, "pull_requests": []}})
    forge.pulls = [{"number": 7, "head": {"sha": "d" * 40}}]
    assert 0 == main(["comment"])
    assert "no open pull request has cccccccccccc as its newest commit" in capsys.readouterr().err
    forge.pulls.append({"number": 7, "head": {"sha": "c" * 40}})
    assert 0 == main(["comment"])
    assert "head=eve%3Aa%26b" in forge.seen[0].path
    assert (1, True) == (len(forge.bodies), "commit cccccccccccc" in forge.bodies[0])


def test_missing_token_is_told(
    github: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """The message has what to add to the workflow."""
    monkeypatch.delenv("GITHUB_TOKEN")
    assert 2 == main(["comment"])
    assert "GITHUB_TOKEN is not set: give the step `env:" in capsys.readouterr().err


def test_run_that_left_no_report_replaces_old_values(github: Path, forge: Forge) -> None:
    """A comment does not go on to show the values of an earlier run."""
    assert 0 == main(["comment"])
    (github / ".gpu-profile" / "report.json").unlink()
    assert 0 == main(["comment"])
    (body,) = forge.bodies
    assert "The run left no report" in body


def test_note_on_gitlab(gitlab: Path, forge: Forge, capsys: Output) -> None:
    """On GitLab the same comment is a note of the merge request, of the token's owner."""
    forge.add(f"{MARK}\nof another", STRANGER)
    assert 0 == main(["comment"])
    assert 0 == main(["comment"])
    told = "the comment https://gitlab.example/o/r/-/merge_requests/7#note_2\n"
    assert f"wrote {told}replaced {told}" == capsys.readouterr().out
    assert {TOKEN} == {one.headers["private-token"] for one in forge.seen}
    assert ["GET", "GET", "POST", "GET", "GET", "GET", "GET", "PUT"] == forge.methods()
    assert 2 == len(forge.bodies)


def test_pipeline_of_a_branch_on_gitlab(
    gitlab: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """A pipeline without a merge request is no failure."""
    monkeypatch.delenv("CI_MERGE_REQUEST_IID")
    assert 0 == main(["comment"])
    assert "no comment: no merge request belongs to this pipeline\n" == capsys.readouterr().err


def test_outside_of_ci_it_is_printed_on_demand(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """Without a CI system there is no pull request; `--dry-run` prints what would be written."""
    for name in ("GITHUB_ACTIONS", "GITLAB_CI"):
        monkeypatch.delenv(name, raising=False)
    assert 2 == main(["comment"])
    assert "--dry-run prints the comment" in capsys.readouterr().err
    assert 0 == main(["comment", "--dry-run", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert ("--dry-run", None) == (document["reason"], document["url"])
    assert 0 == main(["comment", "--dry-run", "--label", "x"])
    assert capsys.readouterr().out.startswith(f"{marker('x')}\n### GPU profiles: x\n")
