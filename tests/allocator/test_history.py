"""The largest batch by the allocations of one training, replayed at other batch sizes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from harness.allocator.history import BlockHistory
from harness.allocator.settings import MIB, AllocatorSettings

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = AllocatorSettings()
WEIGHTS, SAMPLE = 64 * MIB, 12 * MIB


def training(batch_size: int, steps: int = 2) -> BlockHistory:
    """Return a training: weights, then for each step two activations that are freed behind it."""
    sizes, events = [WEIGHTS], [0]
    ends = []
    for _ in range(steps):
        first = len(sizes)
        sizes += [batch_size * SAMPLE, batch_size * SAMPLE]
        events += [first, first + 1, ~first, ~(first + 1)]
        ends.append(len(events))
    return BlockHistory(batch_size, tuple(sizes), tuple(events), ends[0])


def test_only_blocks_that_hold_samples_grow() -> None:
    """A block whose size is a multiple of the batch size holds samples; weights are none."""
    assert [WEIGHTS, *[11 * SAMPLE] * 4] == training(7).sizes_at(11)


@pytest.mark.parametrize("limit", [500 * MIB, 1000 * MIB, 4096 * MIB])
def test_largest_is_where_the_limit_is_met(limit: int) -> None:
    """Of an affine memory the answer is that of the division."""
    assert (limit - WEIGHTS) // (2 * SAMPLE) == training(7).largest(10_000, limit, SETTINGS)


def test_largest_is_below_a_size_that_failed() -> None:
    """A size that is known to fail is not answered."""
    assert 19 == training(7).largest(20, 4096 * MIB, SETTINGS)


def test_own_size_fits() -> None:
    """The history's own size did fit, whatever its replay says."""
    assert 7 == training(7).largest(10_000, 100 * MIB, SETTINGS)


@pytest.mark.parametrize("limit", [100 * MIB, 1000 * MIB, 4096 * MIB])
def test_history_serves_the_limit_of_another_gpu(limit: int) -> None:
    """The size that fits there may be smaller than the own one, and the next size does not fit."""
    history = training(61)
    found = history.largest_elsewhere(10_000, limit, SETTINGS)
    assert (True, False) == tuple(
        history.fits(size, limit, SETTINGS) for size in (found, found + 1)
    )


def test_rough_estimate_goes_by_the_peak_and_the_state() -> None:
    """What remains after the first step is state, and the rest of the peak is the samples'."""
    assert (1000 * MIB - WEIGHTS) // (2 * SAMPLE) == training(2).rough(1000 * MIB)


def thrashing() -> BlockHistory:
    """Return a training whose second step has larger blocks: the cache must be emptied for them."""
    sizes = (7 * SAMPLE, 7 * 2 * SAMPLE)
    return BlockHistory(7, sizes, (0, ~0, 1, ~1), first_step=2)


def test_size_that_empties_the_cache_after_the_first_step_thrashes() -> None:
    """It fits where thrashing is allowed, and only there."""
    limit = 20 * SAMPLE
    assert [True, False] == [
        thrashing().fits(7, limit, SETTINGS, allow_thrashing=allowed) for allowed in (True, False)
    ]


def test_size_that_empties_the_cache_in_the_first_step_does_not_thrash() -> None:
    """The cache fills in the first step, so emptying it then counts for nothing."""
    history = BlockHistory(7, (7 * SAMPLE, 7 * 2 * SAMPLE), (0, ~0, 1, ~1), first_step=4)
    assert history.fits(7, 20 * SAMPLE, SETTINGS, allow_thrashing=False)


def test_file_of_a_probe_is_read(tmp_path: Path) -> None:
    """What the probe wrote is the history, under the batch size that it ran with."""
    file = tmp_path / "7.json"
    file.write_text(json.dumps({"sizes": [1, 2], "events": [0, 1, -1, -2], "first_step": 2}))
    assert BlockHistory(7, (1, 2), (0, 1, -1, -2), 2) == BlockHistory.read(file, 7)


def test_missing_file_is_no_history(tmp_path: Path) -> None:
    """A probe writes none where it could not keep all of its allocations."""
    assert BlockHistory.read(tmp_path / "7.json", 7) is None
