"""The history of a lockfile, read from git repositories."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from git_repositories import Repository
from measurements import A100, locked

from harness.git import GitError
from harness.lock_history import LockHistory, read_history
from harness.lockfile.profiles import Lock
from harness.lockfile.render import render

if TYPE_CHECKING:
    from harness.lockfile.profiles import LockedProfile

LOCK = "profiles/gpu-profile.lock"
CASE = "resnet18-h200-224"
OTHER = locked(model="vit")


def text(*profiles: LockedProfile) -> str:
    """Return the text of a lockfile."""
    return render(Lock(Path(LOCK), profiles))


def batches(history: LockHistory, case: str = CASE) -> list[tuple[str, list[int]]]:
    """Return the subject of each revision and the largest batches of a case, newest first."""
    return [
        (one.subject, [profile.max_batch_size for profile in one.profiles.get(case, ())])
        for one in history.revisions
    ]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Make a repository whose lockfile was made and then changed once."""
    made = Repository(tmp_path / "project")
    made.commit("Lock", {LOCK: text(locked(), OTHER)})
    made.commit("Another file", {"README": "text"})
    made.commit("Worse", {LOCK: text(locked(max_batch_size=3500), OTHER)})
    return made


def test_commits_that_changed_the_lock_are_listed_newest_first(repository: Repository) -> None:
    """Each has its hash, date, author and subject, and the profiles of that commit."""
    history = read_history(repository.path / LOCK)
    assert [("Worse", [3500]), ("Lock", [3712])] == batches(history)
    newest = history.revisions[0]
    assert newest.commit == repository.git("rev-parse", "HEAD")
    assert newest.date is not None
    assert ("Ann", "2023-11-17", LOCK) == (
        newest.author,
        newest.date.date().isoformat(),
        newest.path,
    )


def test_block_that_did_not_change_is_one_object(repository: Repository) -> None:
    """A profile that a commit left alone is parsed once, so long histories are quick."""
    revisions = read_history(repository.path / LOCK).revisions
    newer, older = (one.profiles[OTHER.case_id][0] for one in revisions)
    assert newer is older


def test_what_is_not_committed_comes_first(repository: Repository) -> None:
    """The file as it is stands before the commits, without a hash."""
    (repository.path / LOCK).write_text(text(locked(max_batch_size=9999)), encoding="utf-8")
    history = read_history(repository.path / LOCK)
    assert [("", [9999]), ("Worse", [3500]), ("Lock", [3712])] == batches(history)
    assert history.revisions[0].commit is None


def test_removed_file_is_a_revision_without_profiles(repository: Repository) -> None:
    """A lockfile that is gone from the checkout still has its history."""
    (repository.path / LOCK).unlink()
    assert ("", []) == batches(read_history(repository.path / LOCK))[0]
    repository.commit("Gone")
    assert [("Gone", []), ("Worse", [3500])] == batches(read_history(repository.path / LOCK))[:2]


def test_renames_of_the_file_are_followed(repository: Repository) -> None:
    """The revisions before a rename are there, under the path of their time."""
    (repository.path / "gpu").mkdir()
    repository.git("mv", LOCK, "gpu/values.lock")
    repository.commit("Move")
    history = read_history(repository.path / "gpu" / "values.lock")
    assert [("Move", [3500]), ("Worse", [3500]), ("Lock", [3712])] == batches(history)
    assert ["gpu/values.lock", LOCK, LOCK] == [one.path for one in history.revisions]


def test_merge_stands_for_what_it_brings(repository: Repository) -> None:
    """The line is that of the first parents: a merged branch is one revision."""
    repository.git("checkout", "--quiet", "-b", "side", "HEAD~1")
    repository.commit("On the side", {"model.py": "1"})
    repository.commit("Lock on the side", {LOCK: text(locked(), OTHER, locked(model="net"))})
    repository.git("checkout", "--quiet", "main")
    repository.git("merge", "--quiet", "--no-ff", "-X", "theirs", "-m", "Merge side", "side")
    history = read_history(repository.path / LOCK)
    assert ["Merge side", "Worse", "Lock"] == [one.subject for one in history.revisions]
    assert [1, 0, 0] == [len(one.profiles.get("net-h200-224", ())) for one in history.revisions]


def test_case_on_several_devices_has_a_profile_for_each(repository: Repository) -> None:
    """The profiles of a case id are all of its devices."""
    repository.commit(
        "Two devices",
        {LOCK: text(locked(), locked(device=A100, max_batch_size=1100, batch_size=1000))},
    )
    assert ("Two devices", [1100, 3712]) == batches(read_history(repository.path / LOCK))[0]


@pytest.mark.parametrize(
    ("damaged", "problem"),
    [
        ("version = 1\n<<<<<<< HEAD\n", "merge conflict"),
        ("version = 1\n\n[[profile]]\nmodel = 3\n", "model"),
        ("version = 1\n[[profile]]\nnothing", "not TOML"),
        ("version = 7\n", "version 7 is newer"),
    ],
)
def test_damaged_lock_is_a_revision_with_the_reason(
    repository: Repository, damaged: str, problem: str
) -> None:
    """The others are read all the same."""
    repository.commit("Damage", {LOCK: damaged})
    repository.commit("Repair", {LOCK: text(locked())})
    history = read_history(repository.path / LOCK)
    assert ["Repair", "Damage", "Worse", "Lock"] == [one.subject for one in history.revisions]
    assert [False, True, False, False] == [one.problem is not None for one in history.revisions]
    assert problem in str(history.revisions[1].problem)


def test_case_that_is_locked_twice_is_a_problem(repository: Repository) -> None:
    """Blocks are parsed one by one, and judged together."""
    whole = text(locked())
    repository.commit("Twice", {LOCK: whole + whole.partition("\n\n")[2]})
    problem = read_history(repository.path / LOCK).revisions[0].problem
    assert problem is not None
    assert "is locked twice, first on line 3" in problem


def test_lock_written_by_hand_reads_as_by_read_lock(repository: Repository) -> None:
    """Indented headers, a comment at the top and inline tables change nothing."""
    whole = "# ours\n" + text(locked(), OTHER).replace("[[profile]]", "  [[ profile ]]")
    repository.commit("By hand", {LOCK: whole})
    newest = read_history(repository.path / LOCK).revisions[0]
    assert [CASE, OTHER.case_id] == sorted(newest.profiles)
    assert locked() == newest.profiles[CASE][0]


def test_number_of_commits_is_bounded(repository: Repository) -> None:
    """The newest are read, and a note says that there are more."""
    history = read_history(repository.path / LOCK, limit=1)
    assert [("Worse", [3500])] == batches(history)
    assert ["only the newest 1 commits"] == [note[:25] for note in history.notes]


def test_shallow_clone_says_what_is_missing(repository: Repository, tmp_path: Path) -> None:
    """The oldest commit of a shallow clone seems to have made everything."""
    clone = tmp_path / "clone"
    repository.git("clone", "--quiet", "--depth=1", f"file://{repository.path}", str(clone))
    history = read_history(clone / LOCK)
    assert [("Worse", [3500])] == batches(history)
    assert "git fetch --unshallow" in history.notes[0]


def test_clone_with_a_filter_fetches_nothing_and_says_so(
    repository: Repository, tmp_path: Path
) -> None:
    """Reading asks no server."""
    repository.git("config", "uploadpack.allowFilter", "true")
    clone = tmp_path / "clone"
    repository.git(
        "clone", "--quiet", "--filter=blob:none", f"file://{repository.path}", str(clone)
    )
    with pytest.raises(GitError, match="git fetch --refetch --no-filter"):
        read_history(clone / LOCK)


def test_link_in_place_of_the_lock_is_followed_or_told(repository: Repository) -> None:
    """A link that leads to a tracked file has that file's history; one in a commit is told."""
    (repository.path / "link.lock").symlink_to(LOCK)
    assert [3500] == batches(read_history(repository.path / "link.lock"))[0][1]
    (repository.path / LOCK).unlink()
    (repository.path / LOCK).symlink_to("elsewhere")
    repository.commit("Link")
    (repository.path / LOCK).unlink()
    history = read_history(repository.path / LOCK)
    assert ["", "Link"] == [one.subject for one in history.revisions[:2]]
    assert f"{LOCK} is a link or a submodule there" == history.revisions[1].problem


def test_reading_starts_no_program_of_the_repository(repository: Repository) -> None:
    """Its configuration names hooks, a pager, a monitor and more: none of them runs."""
    trap, sprung = repository.path / "trap", repository.path / "sprung"
    trap.write_text(f"#!/bin/sh\ntouch {sprung}\n", encoding="utf-8")
    trap.chmod(0o755)
    repository.git("config", "gpg.program", str(trap))
    for key in ("core.fsmonitor", "core.pager", "diff.external", "core.sshCommand", "core.editor"):
        repository.git("config", key, str(trap))
    repository.git("config", "log.showSignature", "true")
    repository.git("config", "diff.evil.textconv", str(trap))
    (repository.path / ".git" / "info").mkdir(exist_ok=True)
    (repository.path / ".git" / "info" / "attributes").write_text("* diff=evil\n", encoding="utf-8")
    assert 2 == len(read_history(repository.path / LOCK).revisions)
    assert not sprung.exists()


def test_variables_of_a_hook_lead_nowhere_else(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repository is that of the lockfile, also where git has set the variables of another."""
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_WORK_TREE", "/nowhere")
    assert 2 == len(read_history(repository.path / LOCK).revisions)


def test_hostile_texts_of_commits_are_cut(repository: Repository) -> None:
    """A subject of any length costs 200 characters; who shows it makes it harmless."""
    repository.commit("\x1b[2J" + "x" * 100_000, {LOCK: text(locked())})
    subject = read_history(repository.path / LOCK).revisions[0].subject
    assert (200, True) == (len(subject), subject.startswith("\x1b[2J"))


def test_folder_outside_of_a_repository_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git's own words are in the message."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(GitError, match="not a git repository"):
        read_history(tmp_path / LOCK)


def test_lock_that_was_never_committed_is_an_error(repository: Repository) -> None:
    """The error says whether the file exists."""
    (repository.path / "new.lock").write_text("version = 1\n", encoding="utf-8")
    with pytest.raises(GitError, match=r"new\.lock is in no commit of this branch"):
        read_history(repository.path / "new.lock")
    with pytest.raises(GitError, match=r"none\.lock does not exist"):
        read_history(repository.path / "none.lock")


def test_machine_without_git_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to install it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match="git is not on PATH"):
        read_history(tmp_path / LOCK)


def test_repository_without_commits_is_an_error(tmp_path: Path) -> None:
    """Git's own words are in the message."""
    with pytest.raises(GitError, match="does not have any commits yet"):
        read_history(Repository(tmp_path / "empty").path / LOCK)
