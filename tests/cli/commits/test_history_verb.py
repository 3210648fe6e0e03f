"""`gpu-profile history` lists the commits that changed a case."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from git_repositories import Repository
from measurements import A100, locked

from harness.cli.command_line import main
from harness.lockfile.profiles import Lock
from harness.lockfile.render import render

if TYPE_CHECKING:
    from harness.lockfile.profiles import LockedProfile

LOCK = "profiles/gpu-profile.lock"
CASE = "resnet18-h200-224"


def text(*profiles: LockedProfile) -> str:
    """Return the text of a lockfile."""
    return render(Lock(Path(LOCK), profiles))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """Make a repository whose lockfile was made and then changed once, and work in it."""
    made = Repository(tmp_path / "project")
    made.commit("Lock", {LOCK: text(locked(), locked(model="vit"))})
    made.commit(
        "Keep what GELU needs", {LOCK: text(locked(max_batch_size=3500), locked(model="vit"))}
    )
    monkeypatch.chdir(made.path)
    return made


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[list[str], str]:
    """Return the lines that the verb prints, and what it says aside."""
    assert 0 == main(["history", *arguments])
    printed = capsys.readouterr()
    return printed.out.splitlines(), printed.err


def test_commits_are_shown_with_values_and_changes(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table has the values of each commit, and below stands what each has changed."""
    first, second = repository.git("log", "--reverse", "--format=%h", "--abbrev=10").split()
    lines, aside = told(capsys, CASE)
    assert f"{CASE}: 2 changes in the history of {LOCK}" == lines[0]
    assert [second, first] == [line.split()[0] for line in lines[4:6]]
    assert "2023-11-16  Ann       3500" in lines[4]
    assert "3.2e-03  117.2 GiB  2.11.0   Keep what GELU needs" in lines[4]
    assert [
        "",
        f"{second}  Keep what GELU needs",
        "  max_batch_size  3712 -> 3500  -5.7%",
    ] == lines[6:]
    assert aside == ""


def test_case_that_no_commit_has_locked_is_an_error(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """The nearest id of the whole history is named."""
    assert main(["history", "resnet81-h200-224"]) == 2
    assert (
        f"gpu-profile: no commit has locked resnet81-h200-224 in {LOCK}; did you mean {CASE}?\n"
    ) == capsys.readouterr().err


def test_removed_case_has_its_history(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commit that removed it comes first."""
    repository.commit("Drop resnet", {LOCK: text(locked(model="vit"))})
    lines, _ = told(capsys, CASE)
    assert "Ann       removed" in lines[4]
    assert 3 == len([line for line in lines if " Ann " in line])


def test_renamed_case_is_followed(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same values under a new id are the same case; the old id is named."""
    renamed = locked(model="resnet", max_batch_size=3500)
    commit = repository.commit("Rename", {LOCK: text(renamed, locked(model="vit"))})
    lines, _ = told(capsys, "resnet-h200-224")
    assert 3 == len([line for line in lines if " Ann " in line])
    place = lines.index(f"{commit[:10]}  Rename")
    assert [
        f"  renamed from {CASE}",
        "  model  resnet18 -> resnet",
    ] == lines[place + 1 : place + 3]


def test_what_is_not_committed_is_the_first_line(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no date and no author."""
    Path(LOCK).write_text(text(locked(max_batch_size=3400)), encoding="utf-8")
    lines, _ = told(capsys, CASE)
    assert "not committed  -           -         3400" in lines[4]
    assert "not committed" in lines


def test_several_devices_have_a_column(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each device of a case has rows of its own."""
    other = locked(device=A100, max_batch_size=1100, batch_size=1000)
    repository.commit("Two", {LOCK: text(locked(max_batch_size=3500), other)})
    lines, _ = told(capsys, CASE)
    assert "device" in lines[2]
    assert "NVIDIA A100-SXM4-40GB, 40.0 GiB  1100" in lines[4]


def test_unreadable_lock_is_left_out_and_told(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next commit shows what has changed since the one before."""
    commit = repository.commit("Conflict", {LOCK: "version = 1\n<<<<<<< HEAD\n"})
    repository.commit("Resolve", {LOCK: text(locked(max_batch_size=3000, batch_size=3000))})
    lines, aside = told(capsys, CASE)
    assert 3 == len([line for line in lines if " Ann " in line])
    assert "  max_batch_size  3500 -> 3000  -14.3%" in lines
    assert aside.startswith(f"note: {commit[:10]} is left out: {LOCK}:2: a merge conflict")


def test_hostile_subject_steers_no_terminal(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """What others have written in a commit is shown, and not obeyed."""
    repository.commit(
        "\x1b[2J::error::x", {LOCK: text(locked(max_batch_size=3000, batch_size=3000))}
    )
    lines, _ = told(capsys, CASE)
    assert r"\x1b[2J::error::x" in lines[4]
    assert "\x1b" not in "".join(lines)


def test_folder_without_repository_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Git's words are passed on, and the exit code is 2."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert main(["history", CASE]) == 2
    assert "not a git repository" in capsys.readouterr().err
