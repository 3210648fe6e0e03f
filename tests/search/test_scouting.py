"""A scout, which is cheaper than a probe, may show where to aim; the result rests on probes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.search.search import search

if TYPE_CHECKING:
    from typing import Any, Literal

    from harness.search.search import Mode, SearchResult

LIMIT = 2**30
FIXED = LIMIT // 5


@dataclass(frozen=True)
class Tried:
    """A minimal result of a probe."""

    outcome: Literal["fits", "oom"]
    peak_memory_bytes: int


@dataclass
class Device:
    """Memory that is affine in the batch size; a scout measures `overlooked` bytes less."""

    largest: int
    overlooked: int = 0
    calls: list[tuple[str, int]] = field(default_factory=list)

    def _try(self, size: int, overlooked: int) -> Tried:
        slope = (LIMIT - FIXED) / (self.largest + 0.5)
        memory = int(FIXED + slope * size) - overlooked
        return Tried("fits" if memory <= LIMIT else "oom", min(memory, LIMIT))

    def probe(self, size: int) -> Tried:
        """Return the result of a probe."""
        self.calls.append(("probe", size))
        return self._try(size, 0)

    def scout(self, size: int) -> Tried:
        """Return the result of a scout."""
        self.calls.append(("scout", size))
        return self._try(size, self.overlooked)

    def search(self, mode: Mode = "exact", **settings: Any) -> SearchResult[Tried]:
        """Return the result of a search with probes and scouts."""
        return search(self.probe, scout=self.scout, mode=mode, memory_limit_bytes=LIMIT, **settings)


def test_sizes_on_the_way_are_scouted_and_the_edge_is_probed() -> None:
    """The two small sizes and the first aim are scouted; the maximum and the next are probed."""
    device = Device(471)
    result = device.search()
    assert ["scout", "scout", "scout", "probe", "probe"] == [kind for kind, _ in device.calls]
    assert {471, 472} == {size for _, size in device.calls[3:]}
    assert (471, True, "memory") == (result.max_batch_size, result.exact, result.bounded_by)


@pytest.mark.parametrize("mode", ["power", "binsearch"])
def test_other_modes_do_not_scout(mode: Mode) -> None:
    """`power` and `binsearch` probe every size, because each may be the answer."""
    device = Device(40)
    device.search(mode)
    assert {"probe"} == {kind for kind, _ in device.calls}


def test_warm_start_does_not_scout() -> None:
    """A locked size is expected to be the answer, so it and its neighbour are probed."""
    device = Device(100)
    device.search(locked=100)
    assert [("probe", 100), ("probe", 101)] == device.calls


def test_cap_is_probed_in_full_at_once() -> None:
    """The maximum of the range is probed at once, because it is the answer if it fits."""
    device = Device(471)
    assert 2 == device.search(max_batch_size=2).max_batch_size
    assert [("probe", 2)] == device.calls


def test_scouted_maximum_is_confirmed() -> None:
    """A scouted size that turns out to be the largest is probed before it is the answer."""
    device = Device(32)
    result = device.search()
    assert ("scout", 32) in device.calls
    assert ("probe", 32) in device.calls
    assert (32, True) == (result.max_batch_size, result.exact)


def test_scout_that_was_wrong_is_corrected() -> None:
    """If a scouted size fails when it is probed, the search goes on below it."""
    device = Device(31, overlooked=LIMIT // 30)
    result = device.search()
    assert device.calls.index(("scout", 32)) < device.calls.index(("probe", 32))
    assert (31, True) == (result.max_batch_size, result.exact)


def test_last_trial_goes_to_a_full_probe_of_what_was_scouted() -> None:
    """The last allowed probe is for the largest size that a scout fitted, to make it an answer."""
    device = Device(5000)
    result = device.search(max_trials=3)
    assert [("scout", 2), ("scout", 32), ("probe", 32)] == device.calls
    assert (32, "trials", False) == (result.max_batch_size, result.bounded_by, result.exact)


def test_single_trial_is_a_full_probe() -> None:
    """A search of one probe does not scout."""
    device = Device(5000)
    assert 2 == device.search(max_trials=1).max_batch_size
    assert [("probe", 2)] == device.calls


def test_scout_is_never_the_answer() -> None:
    """If the last probe refutes the only scouted size, the answer is 0."""
    device = Device(1, overlooked=LIMIT)
    result = device.search(max_trials=2)
    assert [("scout", 2), ("probe", 2)] == device.calls
    assert (0, "trials") == (result.max_batch_size, result.bounded_by)


@given(st.integers(0, 3000), st.integers(0, LIMIT // 4), st.integers(1, 30), st.integers(1, 4000))
def test_answer_rests_on_full_probes(
    largest: int, overlooked: int, max_trials: int, cap: int
) -> None:
    """For any scouts, the answer was probed, and is exact if there are enough probes."""
    device = Device(largest, overlooked)
    result = device.search(max_trials=max_trials, max_batch_size=cap)
    answer = result.max_batch_size
    assert answer == 0 or ("probe", answer) in device.calls
    assert len(device.calls) <= max_trials
    assert len(set(device.calls)) == len(device.calls)
    assert answer <= min(largest, cap)
    if result.bounded_by != "trials":
        assert min(largest, cap) == answer


@dataclass
class Growing(Device):
    """Memory of which scouts see only a part: in full, each sample takes `hidden` times more."""

    hidden: float = 1.0

    def _try(self, size: int, overlooked: int) -> Tried:
        slope = (LIMIT - FIXED) / (self.largest + 0.5)
        seen = slope if overlooked == 0 else slope / (1 + self.hidden)
        memory = int(FIXED + seen * size)
        return Tried("fits" if memory <= LIMIT else "oom", min(memory, LIMIT))


@given(st.integers(1, 3000), st.floats(0.01, 100))
def test_refuted_scouts_are_not_believed_again(largest: int, hidden: float) -> None:
    """However much scouts overlook at each sample, the maximum is found, and exact."""
    device = Growing(largest, overlooked=1, hidden=hidden)
    result = device.search()
    assert (largest, True, "memory") == (result.max_batch_size, result.exact, result.bounded_by)


@given(st.integers(1, 3000), st.floats(0, 100), st.integers(1, 30))
def test_a_fit_is_never_forgotten(largest: int, hidden: float, max_trials: int) -> None:
    """When the trials run out, the answer is at least one of the sizes that fit in full."""
    device = Growing(largest, overlooked=1, hidden=hidden)
    result = device.search(max_trials=max_trials)
    fitting = {size for kind, size in device.calls if kind == "probe" and size <= largest}
    assert bool(fitting) == bool(result.max_batch_size)
    assert result.max_batch_size in fitting | {0}


def test_last_trial_after_a_refutation_goes_to_the_smallest_scouted_size() -> None:
    """A small batch that only a scout has tried is worth the last trial: it may be the answer."""
    device = Growing(3, overlooked=1, hidden=300.0)
    result = device.search(max_trials=9)
    assert ("probe", 2) == device.calls[-1]
    assert (2, "trials") == (result.max_batch_size, result.bounded_by)
