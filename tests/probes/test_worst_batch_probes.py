"""Probes on the worst batches of a loader, beside those on its first ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from projects import MIB, workload

if TYPE_CHECKING:
    from projects import StartRunner

    from harness.protocol.case import WorkloadSpec


def texts(data: str = "Texts", **data_args: Any) -> WorkloadSpec:
    """Return the workload of texts whose probes train on the worst batches."""
    spec = workload("texts_zoo.Reader", f"texts_zoo.{data}", data_args=data_args)
    return {**spec, "worst_batches": True}


def search(runner: Any, high: int) -> int:
    """Return the largest batch that trains, below one that does not."""
    low = 1
    while high - low > 1:
        middle = (low + high) // 2
        fits = runner.train(middle, steps=7).outcome == "fits"
        low, high = (middle, high) if fits else (low, middle)
    return low


def test_the_batch_that_is_found_trains_whole_epochs(start: StartRunner) -> None:
    """One more does not, although the loader's first batches of it fit."""
    budget = 32 * MIB
    largest = search(start(texts(), budget), 64)
    plain = start(workload("texts_zoo.Reader", "texts_zoo.Texts"), budget)
    assert ["fits", "fits", "oom"] == [
        plain.train(largest + 1, steps=3).outcome,
        plain.train(largest, steps=3, epoch_steps=64).outcome,
        plain.train(largest + 1, steps=3, epoch_steps=64).outcome,
    ]


def test_what_the_walk_takes_is_no_part_of_the_memory(start: StartRunner) -> None:
    """Where all texts are alike, the peak is that of an ordinary probe, to a few pages."""
    plain = workload("texts_zoo.Reader", "texts_zoo.Texts", data_args={"longest": 6})
    peaks = [
        start(spec).train(8, steps=7, settle=False).peak_memory_bytes or 0
        for spec in (plain, texts(longest=6))
    ]
    assert peaks[0] == pytest.approx(peaks[1], abs=256 << 10)


def test_a_hook_of_the_data_comes_first(start: StartRunner) -> None:
    """The note says that the setting has no effect beside it."""
    (note,) = start(texts("Hooked")).train(2, steps=1).notes
    assert note.startswith("search.worst_batches has no effect here: probes trained on worst_case_")
