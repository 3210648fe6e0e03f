"""Which waiting case starts, by the GPUs that it may take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.scheduling.places import Place, Places

if TYPE_CHECKING:
    from collections.abc import Iterator

A100, H100 = frozenset({"a"}), frozenset({"x", "y"})


def places(of_cases: dict[str, Place], held: str = "") -> Places:
    """Make places of cases, on a machine where others hold the GPUs `held`."""
    return Places(of_cases, held=lambda uuid: uuid in held)


def next_of(made: Places, waiting: list[str], running: list[str]) -> str | None:
    """Return the id of the case that starts now."""
    found = made.next_of(waiting, running)
    return None if found is None else waiting[found]


def test_case_of_a_free_gpu_passes_those_that_wait() -> None:
    """While both H100 are in use, the case of the A100 starts although it stands last."""
    cases = {name: Place(H100) for name in ("h1", "h2", "h3")} | {"a1": Place(A100)}
    assert "a1" == next_of(places(cases), ["h3", "a1"], ["h1", "h2"])


def test_no_case_starts_to_wait_for_its_own_run() -> None:
    """A case whose GPUs are all in use by this run stays where it is."""
    cases = {name: Place(A100) for name in ("a1", "a2")}
    assert None is next_of(places(cases), ["a2"], ["a1"])


def test_gpu_that_another_run_holds_is_taken_last() -> None:
    """The case of a GPU that is held by another run starts after those of free ones."""
    cases = {"a1": Place(A100), "h1": Place(H100)}
    assert "h1" == next_of(places(cases, held="a"), ["a1", "h1"], [])


def test_case_waits_in_its_worker_for_another_run() -> None:
    """Where only other runs hold the GPUs, a case starts: it tells for whom it waits."""
    assert "a1" == next_of(places({"a1": Place(A100)}, held="a"), ["a1"], ["c1"])


def test_own_lock_is_not_taken_for_another_run() -> None:
    """One of two GPUs is held by this run's own case, so one is free."""
    cases = {name: Place(H100) for name in ("h1", "h2")} | {"c1": Place()}
    assert "h2" == next_of(places(cases, held="x"), ["h2", "c1"], ["h1"])


def test_case_without_a_gpu_starts_at_once() -> None:
    """A case of the CPU, and one that ends at once because its GPU is missing, wait for nothing."""
    made = places({"a1": Place(A100), "a2": Place(A100), "c1": Place()})
    assert "c1" == next_of(made, ["a2", "c1"], ["a1"])


def test_run_never_waits_for_itself_for_ever() -> None:
    """With nothing running, the first case starts, whatever it claims."""
    assert "a1" == next_of(places({"a1": Place(A100, share=7.0)}), ["a1"], [])


def test_workers_are_as_many_as_cases_run_at_once() -> None:
    """Three cases of two H100 and two of one A100 keep three workers busy; others count nothing."""
    cases = {name: Place(H100) for name in ("h1", "h2", "h3")}
    cases |= {name: Place(A100) for name in ("a1", "a2")} | {"c1": Place()}
    assert 3 == places(cases).most_at_once()


def test_small_cases_share() -> None:
    """Of cases that claim a third of a GPU, three run on it at once."""
    cases = {name: Place(A100, share=1 / 3) for name in ("s1", "s2", "s3", "s4")}
    made = places(cases)
    assert (3, "s3", None) == (
        made.most_at_once(),
        next_of(made, ["s3", "s4"], ["s1", "s2"]),
        next_of(made, ["s4"], ["s1", "s2", "s3"]),
    )


def test_case_that_shares_waits_for_a_whole_one() -> None:
    """A case that claims a whole GPU leaves no room for one that shares, and the other way."""
    made = places({"whole": Place(A100), "small": Place(A100, share=0.1)})
    assert (None, None) == (
        next_of(made, ["small"], ["whole"]),
        next_of(made, ["whole"], ["small"]),
    )


def test_case_of_several_gpus_waits_for_all_of_them() -> None:
    """A case of two H100 starts where both are free, and then leaves no room for another."""
    cases = {"both": Place(H100, share=2.0), "one": Place(H100), "small": Place(H100, share=0.1)}
    made = places(cases)
    assert ("both", None, "one", "small") == (
        next_of(made, ["both", "one"], []),
        next_of(made, ["one", "small"], ["both"]),
        next_of(made, ["both", "one"], ["small"]),
        next_of(places(cases, held="x"), ["both", "small"], []),
    )


def test_no_more_of_the_waiting_cases_are_read_than_needed() -> None:
    """Of thousands of cases that wait for three places, one of each is enough to judge all."""
    cases = {"a1": Place(A100), "a2": Place(A100), "h1": Place(H100), "c1": Place()}
    read: list[str] = []

    def waiting() -> Iterator[str]:
        for one in ("a2", "a2", "h1", "c1", "c1"):
            read.append(one)
            yield one

    assert (2, ["a2", "a2", "h1"]) == (places(cases).next_of(waiting(), ["a1"]), read)
