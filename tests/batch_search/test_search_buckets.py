"""The search of buckets: each alone, and all of them in turn, at a share where that is less."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from fake_runner import Rehearsal, surroundings
from matrix_texts import load
from measurements import locked
from projects import MIB

from harness.batch_search.buckets import _largest_percent, search_buckets
from harness.batch_search.training import search_training
from harness.errors import WorkloadError
from harness.measurement import Bucket, Probe
from harness.probes.open_cases import OpenCase

if TYPE_CHECKING:
    from pathlib import Path

    from harness.batch_search.buckets import FoundBuckets

MATRIX = """\
version: 1
matrix: {model: [net], gpu: [cpu], resolution: [64]}
models:
  net:
    module: {class_path: torch.nn.Linear}
    data: {class_path: torch.nn.Flatten, init_args: {length: "${resolution}"}}
    buckets: {field: resolution, edges: [16, 32, 64]}
gpus:
  cpu: {accelerator: cpu, budget: 64MiB}
"""
BASE = 4 * MIB
TOKEN = 4096


class Shelves(Rehearsal):
    """A runner whose samples take memory by their length, and whose buckets in turn take more.

    extra: the bytes that they take more.
    broken: the edge whose data raise.
    retries: how often the allocator empties its cache for them.
    """

    def __init__(self, extra: int = 0, broken: float = 0, retries: int = 0) -> None:
        super().__init__(base=BASE)
        self.retries = retries
        self.extra = extra
        self.broken = broken

    def train(self, batch_size: int, **arguments: Any) -> Probe:
        """Return a probe that fits if its batches do."""
        buckets = arguments.get("buckets") or ()
        self.trained.append({"batch_size": batch_size} | arguments)
        if self.broken in {one["bucket"]["edge"] for one in buckets}:
            return Probe(batch_size, "error", "data", detail="KeyError: 16")
        sizes = [(one["bucket"]["edge"], one["batch_size"]) for one in buckets]
        tokens = [edge * size for edge, size in sizes or [(64, batch_size)]]
        peak = BASE + TOKEN * max(tokens) + self.extra * (len(buckets) > 1)
        fits = peak <= self.budget
        return Probe(
            batch_size,
            "fits" if fits else "oom",
            None if fits else "backward",
            peak if fits else None,
            alloc_retries=self.retries * (len(buckets) > 1),
            steps=arguments["steps"],
        )


def opened(tmp_path: Path, runner: Shelves, search: str = "") -> OpenCase:
    """Return the open case."""
    text = MATRIX + (f"search: {{{search}}}\n" if search else "")
    (case,) = load(tmp_path, text)
    return OpenCase(case, runner, runner.describe(), None, surroundings(tmp_path))  # type: ignore[arg-type] # stands for a ProbeRunner


def searched(case: OpenCase) -> FoundBuckets:
    """Search the last bucket as a run does, and then all of them."""
    tuned = case.case.search.tuned
    return search_buckets(case, search_training(case), lambda one: tuned(one.max_batch_size))


def test_each_bucket_is_as_large_as_fits(tmp_path: Path) -> None:
    """A half of the length leaves room for twice the samples."""
    found = searched(opened(tmp_path, Shelves()))
    assert (
        Bucket(16, 960, 960),
        Bucket(32, 480, 480),
        Bucket(64, 240, 240),
    ) == found.buckets
    assert () == found.warnings


def test_a_bucket_begins_where_a_longer_one_leads(tmp_path: Path) -> None:
    """Its first probe is where memory goes by the length, and it takes two more."""
    found = searched(opened(tmp_path, Shelves()))
    first = {next(iter(one.buckets)): one.batch_size for one in reversed(found.probes[:-1])}
    assert {"32": 480, "16": 960} == first
    assert ["bucket"] * 6 + ["joint"] == [one.kind for one in found.probes]


def test_a_locked_bucket_is_where_the_search_begins(tmp_path: Path) -> None:
    """Its own locked size, whatever the others say."""
    case = opened(tmp_path, Shelves())
    then = (Bucket(16, 900, 950), Bucket(32, 400, 470), Bucket(64, 240, 240))
    profile = locked(batch_size=240, max_batch_size=240, buckets=then)
    found = searched(replace(case, locked=profile))
    first = {next(iter(one.buckets)): one.batch_size for one in reversed(found.probes[:-1])}
    assert {"16": 950, "32": 470} == first


def test_sizes_that_do_not_fit_in_turn_shrink_by_one_share(tmp_path: Path) -> None:
    """One percent more does not fit; the largest alone stay what they are."""
    runner = Shelves(extra=3 * MIB)
    found = searched(opened(tmp_path, runner))
    assert [(912, 960), (456, 480), (228, 240)] == [
        (one.batch_size, one.max_batch_size) for one in found.buckets
    ]
    joint = {
        tuple(one.buckets.values()): one.outcome for one in found.probes if one.kind == "joint"
    }
    assert ("fits", "oom") == (joint[912, 456, 228], joint[922, 461, 230])
    (warning,) = found.warnings
    assert warning == (
        "the buckets train alone at 16: 960, 32: 480, 64: 240, and in turn at 95% of these sizes: "
        "all buckets in turn (16: 922, 32: 461, 64: 230) out of memory in backward"
    )


def test_a_safety_factor_comes_before_the_probe_in_turn(tmp_path: Path) -> None:
    """What fits in turn is what is trained with, in multiples of `round_to`."""
    case = opened(tmp_path, Shelves(extra=3 * MIB), "safety_factor: 0.95, round_to: 8")
    found = searched(case)
    assert ([912, 456, 224], ()) == ([one.batch_size for one in found.buckets], found.warnings)


def test_buckets_that_thrash_in_turn_are_warned_of(tmp_path: Path) -> None:
    """They train, and a setting finds sizes that do not thrash."""
    runner = Shelves(retries=3)
    (warning,) = searched(opened(tmp_path, runner)).warnings
    assert warning.startswith(
        "in turn the buckets train, but they thrash: torch's allocator emptied its cache 3 times in"
        " 9 steps, which is slow; set search.allow_thrashing: false"
    )


def test_small_batches_do_not_shrink_below_one(tmp_path: Path) -> None:
    """Where not even these fit in turn, the case cannot be trained, and says so."""
    case = opened(tmp_path, Shelves(extra=64 * MIB), "max_batch_size: 3")
    with pytest.raises(WorkloadError) as caught:
        searched(case)
    assert str(caught.value) == (
        "each bucket trains alone, and not in turn with the others: all buckets in turn (16: 1, "
        "32: 1, 64: 1) out of memory in backward"
    )


def test_a_bucket_that_raises_is_named(tmp_path: Path) -> None:
    """A longer one has trained, so its own data are at fault."""
    with pytest.raises(WorkloadError) as caught:
        searched(opened(tmp_path, Shelves(broken=16)))
    assert str(caught.value).startswith(
        "no batch size of the bucket up to 16 trains, though one of a longer bucket does: bucket "
        "16: batch"
    )


def test_each_bucket_follows_each_in_the_last_probe(tmp_path: Path) -> None:
    """Three buckets take nine steps."""
    runner = Shelves()
    searched(opened(tmp_path, runner))
    assert 9 == runner.trained[-1]["steps"]


def test_a_locked_share_takes_two_probes(tmp_path: Path) -> None:
    """That share fits, and one percent more does not."""
    case = opened(tmp_path, Shelves(extra=3 * MIB))
    then = (Bucket(16, 912, 960), Bucket(32, 456, 480), Bucket(64, 228, 240))
    profile = locked(batch_size=228, max_batch_size=240, buckets=then)
    found = searched(replace(case, locked=profile))
    assert (then, ["fits", "oom"]) == (
        found.buckets,
        [one.outcome for one in found.probes if one.kind == "joint"],
    )


@pytest.mark.parametrize("most", [100, 99, 97, 64, 36, 2, 1, 0])
@pytest.mark.parametrize("begin", [None, 1, 60, 97, 99, 100])
def test_the_share_is_exact_wherever_the_search_begins(most: int, begin: int | None) -> None:
    """It fits, and one percent more does not."""
    asked = []

    def fits(percent: int) -> bool:
        asked.append(percent)
        return percent <= most

    assert most == _largest_percent(fits, begin)
    assert len(asked) == len(set(asked))
