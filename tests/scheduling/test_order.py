"""The order in which a run takes its cases."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from git_repositories import Repository
from matrix_texts import large_matrix, load
from measurements import locked

from harness.lockfile.profiles import Lock
from harness.lockfile.render import render
from harness.scheduling.order import longest_first, most_telling_first
from harness.scheduling.verified import NAME, locked_times, read_verified, write_verified

if TYPE_CHECKING:
    from pathlib import Path

    from harness.matrix.case import Case

DAY = 86_400
FIRST = 1_700_000_000 + DAY


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    """Return four cases, whose resolutions are 1, 2, 3 and 4."""
    return list(load(tmp_path, large_matrix(1, 1, 4)))


def numbers(cases: list[Case]) -> list[object]:
    """Return the resolutions of cases."""
    return [case.resolution for case in cases]


def test_long_cases_come_first(cases: list[Case]) -> None:
    """One without an estimate, whose search begins from nothing, comes before all others."""
    seconds = {1: 60.0, 2: 300.0, 3: None, 4: 100.0}
    found = longest_first(cases, lambda case: seconds[int(case.resolution)])
    assert [3, 2, 4, 1] == numbers(found)


def test_changed_then_never_locked_then_longest_ago(cases: list[Case]) -> None:
    """Under a time budget the case that changed is first, and the one verified last is last."""
    found = most_telling_first(
        cases,
        is_locked=lambda case: case.resolution != 3,
        has_changed=lambda case: case.resolution == 4,
        verified={cases[0].id: 2000.0, cases[1].id: 1000.0},
        budget_seconds=600,
    )
    assert [4, 3, 2, 1] == numbers(found)


def test_workloads_are_compared_for_a_part_of_the_budget(cases: list[Case]) -> None:
    """Without time to build any workload, all count as unchanged, and none is built."""
    built: list[Case] = []

    def has_changed(case: Case) -> bool:
        built.append(case)
        return True

    found = most_telling_first(
        cases, is_locked=lambda _: True, has_changed=has_changed, verified={}, budget_seconds=0
    )
    assert ([], {1, 2, 3, 4}) == (built, {*numbers(found)})


def test_chance_gives_each_case_its_turn(cases: list[Case]) -> None:
    """Of cases of which nothing is known, each comes first in some of 200 runs."""
    first = {
        most_telling_first(
            cases,
            is_locked=lambda _: True,
            has_changed=lambda _: False,
            verified={},
            budget_seconds=600,
        )[0].id
        for _ in range(200)
    }
    assert {case.id for case in cases} == first


def test_times_of_verification_are_kept(tmp_path: Path) -> None:
    """A run notes the time of its cases, and keeps the others'."""
    write_verified(tmp_path, ["one", "two"], 1000.4)
    write_verified(tmp_path, ["two", "three"], 2000.0)
    assert {"one": 1000.0, "two": 2000.0, "three": 2000.0} == read_verified(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        '{"version": 2, "cases": {"one": 1}}',
        '{"version": 1, "cases": {"one": "late"}}',
        '{"version": 1, "cases": {"one": NaN}}',
        '{"version": 1, "cases": 3}',
        '{"version": 1}',
        "[" * 100_000,
    ],
)
def test_nothing_is_known_from_a_damaged_file(tmp_path: Path, text: str) -> None:
    """The file may be anybody's; a run goes on without it, and writes it anew."""
    (tmp_path / NAME).write_text(text)
    assert {} == read_verified(tmp_path)


def test_file_that_never_ends_is_not_read(tmp_path: Path) -> None:
    """A pipe in the place of the file does not stop a run."""
    os.mkfifo(tmp_path / NAME)
    assert {} == read_verified(tmp_path)


def test_profile_was_verified_when_it_was_committed(tmp_path: Path) -> None:
    """The commit counts that made the profile what it is, whatever later ones did to others."""
    repository = Repository(tmp_path / "project")
    old, other = locked(), locked(model="vit")
    repository.commit("Lock", {"lock": render(Lock(tmp_path, (old, other)))})
    new = locked(model="vit", max_batch_size=3500)
    repository.commit("Worse", {"lock": render(Lock(tmp_path, (old, new)))})
    assert {old.case_id: FIRST, other.case_id: FIRST + DAY} == locked_times(
        repository.path / "lock"
    )


def test_without_git_no_time_is_known(tmp_path: Path) -> None:
    """A checkout without a history has no times, and no error."""
    assert {} == locked_times(tmp_path / "lock")
