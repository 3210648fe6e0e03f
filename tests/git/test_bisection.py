"""The commits that a bisection tries, and where it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from git_repositories import Repository

from harness.errors import HarnessError
from harness.git.bisection import Bisection, info, resolve

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Make an empty repository."""
    return Repository(tmp_path / "project")


def commits(repository: Repository, number: int) -> list[str]:
    """Make commits one after another; return their hashes, the oldest first."""
    return [repository.commit(f"Commit {at}", {"file": str(at)}) for at in range(number)]


def search(
    repository: Repository, line: list[str], first_bad: int, broken: set[int]
) -> tuple[list[int], int]:
    """Search a line of commits; return those that may be the first bad one, and how many tries."""
    bisection = Bisection(repository.path, line[0], line[-1])
    tries = 0
    while (commit := bisection.next()) is not None:
        place = line.index(commit)
        bisection.tell(commit, good=None if place in broken else place < first_bad)
        tries += 1
    return sorted(line.index(one) for one in bisection.candidates()), tries


def test_first_bad_commit_is_found_wherever_it_is(repository: Repository) -> None:
    """Ten commits take at most four tries."""
    line = commits(repository, 10)
    found = [search(repository, line, first_bad, set()) for first_bad in range(1, 10)]
    assert [[first_bad] for first_bad in range(1, 10)] == [candidates for candidates, _ in found]
    assert max(tries for _, tries in found) <= 4


def test_commits_that_cannot_be_tried_leave_several(repository: Repository) -> None:
    """Those next to the first bad one may be it; others are no matter."""
    line = commits(repository, 10)
    assert [5, 6, 7] == search(repository, line, 7, {5, 6})[0]
    assert [7] == search(repository, line, 7, {2, 3, 4})[0]


def test_stretch_of_broken_commits_is_left_quickly(repository: Repository) -> None:
    """The strides away from the middle grow, so not each of twenty is tried."""
    line = commits(repository, 40)
    candidates, tries = search(repository, line, 38, set(range(10, 30)))
    assert [38] == candidates
    assert tries < 20


def test_merged_branch_is_searched(repository: Repository) -> None:
    """The first bad commit may lie on a branch that was merged later."""
    (first,) = commits(repository, 1)
    repository.git("checkout", "--quiet", "-b", "side")
    on_side = [repository.commit(f"Side {at}", {f"side{at}": ""}) for at in range(4)]
    repository.git("checkout", "--quiet", "main")
    on_main = [repository.commit(f"Main {at}", {f"main{at}": ""}) for at in range(4)]
    repository.git("merge", "--quiet", "--no-ff", "-m", "Merge", "side")
    merge = repository.git("rev-parse", "HEAD")
    bisection = Bisection(repository.path, first, merge)
    while (commit := bisection.next()) is not None:
        bisection.tell(commit, good=commit in on_main or commit in on_side[:2])
    assert [on_side[2]] == bisection.candidates()
    assert [on_side[1]] == bisection.last_good()


def test_good_must_be_an_ancestor_of_bad(repository: Repository) -> None:
    """The error names where both come from."""
    first, good = commits(repository, 2)
    repository.git("checkout", "--quiet", "-b", "side", first)
    bad = repository.commit("Other", {"other": ""})
    with pytest.raises(HarnessError) as caught:
        Bisection(repository.path, good, bad)
    assert (
        f"--good {good[:10]} is no ancestor of --bad {bad[:10]}: begin where both come from, "
        f"--good {first[:10]}"
    ) == str(caught.value)
    with pytest.raises(HarnessError, match="are the same commit"):
        Bisection(repository.path, good, good)


def test_commits_without_a_common_ancestor_are_refused(repository: Repository) -> None:
    """Two histories that never met have nothing between them."""
    (good,) = commits(repository, 1)
    repository.git("checkout", "--quiet", "--orphan", "other")
    bad = repository.commit("Other", {"other": ""})
    with pytest.raises(HarnessError, match=r"is no ancestor of --bad .*: they share no commit"):
        Bisection(repository.path, good, bad)


def test_revisions_are_named_as_git_names_them(repository: Repository) -> None:
    """A tag, a branch or HEAD~1; what is none is an error, and no option of git."""
    first, second = commits(repository, 2)
    repository.git("tag", "-m", "text", "v1", first)
    found = resolve(repository.path, "v1")
    assert (first, "Commit 0", "Ann") == (found.name, found.subject, found.author)
    assert second == resolve(repository.path, "main").name
    assert info(repository.path, second).tree != found.tree
    for revision in ("nowhere", "--all", "v1:file"):
        with pytest.raises(HarnessError, match=f"^{revision}: there is no such commit in "):
            resolve(repository.path, revision)
