"""Telling memory that each step keeps from noise, and extrapolating it to the epoch's end."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
import zoo
from training_probes import Probing, Recorded

from harness.probe_tasks.growth import Kept, found, projected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from harness.memory_bounds.memory_bound import MemoryBound

KIB = 1 << 10
MIB = 1 << 20

# Lightning warns about few workers and short loaders, which these tests have on purpose.
pytestmark = pytest.mark.filterwarnings("ignore")


class Forty(zoo.Numbers):
    """Has 40 samples."""

    def __init__(self) -> None:
        super().__init__(40)


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Probing:
    """Return a function that runs probes with a bound that only records."""
    return Probing(monkeypatch)


def kept(held: Iterable[int], pass_steps: int | None = None, *, whole_epochs: bool = False) -> Kept:
    """Return what was kept when `held` was seen, a step each; marks repeat the last value."""
    values = list(held)
    bound = Recorded(iter(()))
    made = Kept("training", cast("MemoryBound", bound))
    made.pass_steps = pass_steps
    for value in values:
        bound.held, bound.holds = iter(()), value
        made.add(whole_epochs=whole_epochs)
    return made


def rising(per_step: int, noise: Callable[[int], int] = lambda _: 0) -> Iterable[int]:
    """Yield what is held after each of 64 steps that keep `per_step`."""
    return (step * per_step + noise(step) for step in range(64))


@pytest.mark.parametrize(
    ("held", "suspicious", "grows"),
    [
        ([], False, False),
        ([MIB], False, False),
        ([MIB, 2 * MIB], True, False),
        ([MIB, 2 * MIB, 2 * MIB], False, False),
        ([MIB, MIB + 20 * KIB, MIB + 40 * KIB], False, False),
        ([MIB, 2 * MIB, 3 * MIB, 4 * MIB], True, False),
        ([MIB, 2 * MIB, 3 * MIB, 4 * MIB, 5 * MIB], True, True),
        ([MIB, 2 * MIB, 3 * MIB, 4 * MIB, 4 * MIB], False, False),
    ],
)
def test_five_steps_that_each_keep_memory_are_growth(
    held: list[int], *, suspicious: bool, grows: bool
) -> None:
    """Fewer steps are only suspicious; a step that keeps next to nothing ends the suspicion."""
    seen = kept(held)
    assert (suspicious, grows) == (seen.suspicious, seen.grows)


def test_growth_is_extrapolated_to_the_end_of_the_pass() -> None:
    """64 steps of 1 MiB, of a pass of 1000, leave 936 MiB to come."""
    seen = kept(rising(MIB), 1000, whole_epochs=True)
    assert (936 * MIB, MIB) == (seen.to_come, seen.per_step)


@pytest.mark.parametrize("pass_steps", [None, 3, 64])
def test_nothing_comes_after_a_whole_pass(pass_steps: int | None) -> None:
    """What was seen whole, and what has no known end, is not extrapolated."""
    assert 0 == kept(rising(MIB), pass_steps, whole_epochs=True).to_come


def test_queue_that_is_full_is_not_extrapolated() -> None:
    """Growth that has ended within the probe has nothing to come."""
    assert 0 == kept((min(step, 20) * MIB for step in range(64)), 1000, whole_epochs=True).to_come


def test_small_batches_are_extrapolated_too() -> None:
    """2 KiB a step are below the noise of a step, but not over 64 of them without garbage."""
    assert 2 * KIB * 936 == kept(rising(2 * KIB), 1000, whole_epochs=True).to_come


@pytest.mark.parametrize(
    ("following", "given_back"),
    [([MIB, 2 * MIB, 3 * MIB], True), ([5 * MIB, 6 * MIB, 7 * MIB], False), ([4 * MIB] * 3, None)],
    ids=["freed", "a leak", "a cache that is full"],
)
def test_next_pass_shows_whether_memory_is_given_back(
    following: list[int], *, given_back: bool | None
) -> None:
    """A pass of four steps keeps 3 MiB; what the next three hold tells what became of it."""
    held = [MIB, 2 * MIB, 3 * MIB, 4 * MIB, *following]
    facts = kept(held, 4).facts()
    assert facts is not None
    assert (given_back, MIB) == (facts["given_back"], facts["bytes_per_step"])


def test_whole_epochs_need_what_is_still_to_come() -> None:
    """The peak of an epoch is the probe's, and what its further steps keep, in words as well."""
    peak, words = projected(kept(rising(MIB), 100, whole_epochs=True), kept([]), 500 * MIB)
    assert 536 * MIB == peak
    assert words == (
        "its epoch would need 536.0 MiB of 953.7 MiB: each of its 100 steps keeps 1.0 MiB until "
        "its end"
    )


def test_what_does_not_grow_has_the_peak_of_its_probe() -> None:
    """Without growth the peak stands, and there is nothing to say."""
    assert (500, None) == projected(kept([5] * 64, 100, whole_epochs=True), kept([]), 500)


def test_failure_of_a_training_that_kept_memory_is_growth() -> None:
    """Where memory ran out after two steps that kept some, a probe of whole epochs has to tell."""
    two = kept([0, 2 * MIB])
    assert found(two, kept([]), endless=True, failed=False) is None
    facts = found(two, kept([]), endless=True, failed=True)
    assert facts is not None
    assert (2 * MIB, 2) == (facts["bytes_per_step"], facts["steps"])


def test_scout_goes_on_while_memory_is_kept(probe: Probing) -> None:
    """A scout of two steps takes five where each step keeps memory, and tells how much."""
    result = probe("zoo.Net", steps=2, settle=False, held=rising(MIB))
    assert (5, MIB) == (result["steps"], result["growth"]["bytes_per_step"])


def test_scout_of_a_training_that_keeps_nothing_takes_its_two_steps(probe: Probing) -> None:
    """Noise of a few KiB costs no further step."""
    held = rising(9 * KIB)
    result = probe("zoo.Net", steps=2, settle=False, held=held)
    assert (2, None) == (result["steps"], result["growth"])


def test_whole_epochs_end_where_the_loader_ends(probe: Probing) -> None:
    """A pass of 40 samples has five batches of 8; three more steps belong to the next epoch."""
    result = probe("zoo.Net", f"{__name__}.Forty", epoch_steps=64)
    assert ("fits", 5 + 3) == (result["outcome"], result["steps"])
    assert 2 == probe.phases.count("validation")


def test_long_epochs_are_cut(probe: Probing) -> None:
    """A pass of 512 batches is left after the steps that were asked for."""
    assert 16 == probe("zoo.Net", epoch_steps=16)["steps"]


def test_extrapolation_above_the_limit_does_not_fit(probe: Probing) -> None:
    """512 steps of 4 MB are more than the limit of 1 GB, and the detail says so."""
    result = probe("zoo.Net", epoch_steps=64, held=(step * 4_000_000 for step in range(100)))
    assert ("oom", True) == (result["outcome"], result["above_limit"])
    assert "each of its 512 steps keeps" in result["detail"]
