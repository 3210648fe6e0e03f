"""What is known of a run while it goes on: brackets, positions, and honest estimates."""

from __future__ import annotations

import pytest

from harness.progress.events import Event
from harness.progress.state import RunState, elapsed


def probe(size: int | None, *, fits: bool, case: str = "a") -> Event:
    """Make the event of a probe."""
    return Event(case, "probe", f"batch {size}", batch_size=size, fits=fits)


def begun(*events: Event, total: int | None = None, estimates: dict[str, float]) -> RunState:
    """Make a run in which the case `a` began at 0 s."""
    state = RunState(total=total, estimates=estimates)
    for event in (Event("a", "begin"), *events):
        state.take(event, 0.0)
    return state


def test_bracket_is_of_the_largest_that_fits_and_the_smallest_that_fails() -> None:
    """Whatever order they come in; a scout that fits has proved nothing."""
    tried = [
        probe(64, fits=False),
        probe(8, fits=True),
        probe(32, fits=False),
        probe(16, fits=True),
        probe(None, fits=True),
    ]
    state = begun(Event("a", "phase", "search"), *tried, estimates={})
    assert ("a", "search: 16 fits, 32 does not", "0:07") == state.parts(state.running["a"], 7.0)


def test_each_phase_has_a_bracket_of_its_own() -> None:
    """What fits in training says nothing of validation."""
    known = (Event("a", "phase", "search"), probe(8, fits=True))
    state = begun(*known, Event("a", "phase", "soak"), estimates={})
    assert "soak" == state.running["a"].step


def test_position_and_time_left() -> None:
    """They are those of the run: this case's rest, and the estimates of those that wait."""
    state = begun(total=2, estimates={"a": 60.0, "b": 120.0})
    case = state.running["a"]
    assert ("case 1 of 2: a", "0:20", 160.0) == (
        state.parts(case, 20.0)[0],
        state.parts(case, 20.0)[-1].partition(",")[0],
        state.seconds_left(20.0),
    )
    assert "0:20, about 3 minutes left" == state.parts(case, 20.0)[-1]


def test_estimates_are_scaled_by_what_cases_took() -> None:
    """A machine that is twice as slow as the lock's needs twice as long for the rest."""
    state = begun(total=2, estimates={"a": 60.0, "b": 100.0})
    state.take(Event("a", "end"), 120.0)
    state.take(Event("b", "begin"), 120.0)
    assert 200.0 == state.seconds_left(120.0)


@pytest.mark.parametrize(
    ("total", "estimates", "now"),
    [
        (None, {"a": 60.0}, 1.0),
        (1, {}, 1.0),
        (2, {"a": 60.0}, 1.0),
        (1, {"a": 60.0}, 60.0),
        (1, {"b": 60.0}, 1.0),
    ],
    ids=["unknown-total", "never-locked", "one-never-locked", "outlasted", "another-case"],
)
def test_nothing_is_said_without_a_basis(
    total: int | None, estimates: dict[str, float], now: float
) -> None:
    """No number is shown where it would be made up."""
    assert None is begun(total=total, estimates=estimates).seconds_left(now)


def test_several_cases_at_a_time_have_no_time_left() -> None:
    """They share the machine, and nobody knows how."""
    state = begun(Event("b", "begin"), total=2, estimates={"a": 60.0, "b": 60.0})
    assert None is state.seconds_left(1.0)


def test_cases_of_another_run_are_left_alone() -> None:
    """A pytest within a test of pytest tells the same listeners."""
    state = begun(Event("other", "phase", "search"), Event("other", "end"), estimates={})
    assert (["a"], {}) == ([*state.running], state.done)


def test_words_of_others_are_harmless() -> None:
    """A workload's exception may hold what a terminal obeys."""
    state = begun(Event("a", "said", "x\x1b[2Jy\nmore"), estimates={})
    assert "x\\x1b[2Jy" == state.running["a"].said


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.9, "0:00"), (67, "1:07"), (3600, "1:00:00"), (90_061, "25:01:01")]
)
def test_elapsed(seconds: float, expected: str) -> None:
    """A duration is shown as a clock shows it."""
    assert expected == elapsed(seconds)


def test_case_that_a_node_has_begun_is_counted_once() -> None:
    """When its answer is here, it goes on being the case on that node until it ends."""
    state = RunState()
    state.take(Event("net", "begin", "on node a"), 0.0)
    state.take(Event("net", "begin"), 60.0)
    assert (1, "on node a", 0.0) == (
        state.began,
        state.running["net"].where,
        state.running["net"].begun,
    )
    state.take(Event("net", "end"), 60.0)
    assert {"net": 60.0} == state.done
