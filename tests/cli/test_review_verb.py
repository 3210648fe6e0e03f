"""`gpu-profile review`: each profile of a candidate is shown, and taken or left."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from command_line import Output, of_case
from json_documents import document

from harness.cli.command_line import main
from harness.lockfile.profiles import read_lock
from harness.lockfile.write import write_candidate

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project

QUESTION = "take it? [y]es, [n]o, [a]ll from here, [q]uit: "


@pytest.fixture
def candidate(project: Project, lock: Path) -> Path:
    """Return a candidate with one profile that changes the locked one, and two new ones."""
    path = project.results / "candidate.lock"
    path.parent.mkdir()
    (before,) = read_lock(lock)
    changed = replace(before, batch_size=3200, max_batch_size=3200)
    write_candidate(path, lock, [changed, of_case("other"), of_case("third")])
    return path


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> int:
    """Run the verb with these lines on standard input; return the exit code."""
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    return main(["review"])


def sizes(lock: Path) -> dict[str, int]:
    """Return the locked batch of each case."""
    return {str(profile.axes["model"]): profile.batch_size for profile in read_lock(lock)}


def test_document_lists_what_could_be_taken_and_takes_nothing(
    lock: Path, candidate: Path, capsys: Output
) -> None:
    """`--json` asks no question, so all is left and the exit code is 1."""
    before = lock.read_bytes()
    told = document(capsys, "review", code=1)
    assert [("net", "changed"), ("other", "added"), ("third", "added")] == [
        (one["profile"]["axes"]["model"], one["kind"]) for one in told["differences"]
    ]
    assert (".gpu-profile/candidate.lock", before) == (told["candidate"], lock.read_bytes())


@pytest.mark.parametrize(
    ("answers", "taken"),
    [
        ("y\nn\ny\n", {"net": 3200, "third": 3328}),
        ("n\na\n", {"net": 3328, "other": 3328, "third": 3328}),
        ("yes\nALL\n", {"net": 3200, "other": 3328, "third": 3328}),
        ("y\nq\n", {"net": 3200}),
        ("", {"net": 3328}),
        ("maybe\n\ny\n", {"net": 3200}),
    ],
    ids=["one by one", "all from here", "all", "quit", "no answers", "no answer at first"],
)
def test_profiles_that_are_taken_are_locked_and_others_left(
    lock: Path,
    candidate: Path,
    monkeypatch: pytest.MonkeyPatch,
    answers: str,
    taken: dict[str, int],
) -> None:
    """What is left stays as it is locked, or unlocked; the exit code tells whether any was."""
    all_taken = {"net": 3200, "other": 3328, "third": 3328}
    assert int(taken != all_taken) == answer(monkeypatch, answers)
    assert taken == sizes(lock)


def test_values_are_shown_beside_the_locked_ones(
    lock: Path, candidate: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """Each profile is shown with both values, and the end says where the taken ones are."""
    answer(monkeypatch, "y\nq\n")
    expected = f"""\
(1 of 3) net-cpu-48MiB-1 on cpu, 48.0 MiB
  batch_size      3328 -> 3200  -3.8%
  max_batch_size  3712 -> 3200  -13.8%
{QUESTION}(2 of 3) other-cpu-48MiB-1 on cpu, 48.0 MiB: added, batch_size 3328, learning_rate 0.00316
{QUESTION}1 of 3 taken into profiles/gpu-profile.lock, 2 left
"""
    assert expected == capsys.readouterr().out


def test_interrupted_review_takes_nothing(
    lock: Path, candidate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C leaves the lockfile as it was, whatever was answered before."""
    answers = iter(["y"])

    def interrupted(_: str) -> str:
        for one in answers:
            return one
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupted)
    assert 130 == main(["review"])
    assert {"net": 3328} == sizes(lock)


def test_lock_that_holds_the_candidate_asks_nothing(
    lock: Path, candidate: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """A profile that the lockfile has got since is no removal: there is nothing to ask."""
    write_candidate(lock, candidate, [of_case("since")])
    assert 0 == answer(monkeypatch, "")
    told = "nothing to review: profiles/gpu-profile.lock holds all of what was found\n"
    assert told == capsys.readouterr().out


def test_candidate_that_is_not_there_says_what_makes_one(lock: Path, capsys: Output) -> None:
    """Without a run there is nothing to review."""
    assert 2 == main(["review"])
    expected = (
        "gpu-profile: .gpu-profile/candidate.lock does not exist; each run of "
        "`pytest --gpu-profile` leaves one, in the folder of its results\n"
    )
    assert expected == capsys.readouterr().err
