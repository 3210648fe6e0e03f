"""A training whose memory does not grow with its batch is noticed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest
from fake_runner import make_case

from harness.batch_search.sizes import FoundBatch
from harness.measure.flat_memory import warn_of_flat_memory
from harness.measurement import Probe

if TYPE_CHECKING:
    from pathlib import Path

    from harness.matrix.case import Case


def of_training(tmp_path: Path) -> Case:
    """Make the case of a training on the CPU."""
    case = make_case(tmp_path)
    made = {"class_path": "work.make", "init_args": {}}
    return replace(case, workload=cast("Any", {**case.workload, "training": made}))


def search(peaks: dict[int, int], bounded_by: str = "cap") -> FoundBatch:
    """Make the result of a search whose probes all fit, with these peaks by their batch."""
    probes = tuple(Probe(size, "fits", peak_memory_bytes=peak) for size, peak in peaks.items())
    return FoundBatch(max(peaks), cast("Any", bounded_by), probes, None)


@pytest.mark.parametrize(
    ("peaks", "warned"),
    [
        pytest.param({2: 10_000, 32: 160_000, 4096: 20_000_000}, False, id="in proportion"),
        pytest.param({2: 10_000, 32: 20_000, 4096: 20_000_000}, False, id="another phase peaks"),
        pytest.param({2: 372_736, 32: 372_736, 256: 372_736}, True, id="the same"),
        pytest.param({2: 1_402_920, 32: 1_402_920, 256: 1_407_016}, True, id="noise of a page"),
        pytest.param({2: 100_000, 32: 200_000, 4000: 1_000_000}, True, id="data that end at 300"),
        pytest.param({2: 372_736, 64: 372_736}, False, id="too few samples to tell"),
        pytest.param({64: 372_736}, False, id="one probe, beside a lock"),
    ],
)
def test_growth_that_is_less_than_the_samples_take_is_told(
    tmp_path: Path, peaks: dict[int, int], *, warned: bool
) -> None:
    """Less than the smallest sample, or than half of what smaller batches take for each."""
    assert warned == bool(warn_of_flat_memory(of_training(tmp_path), search(peaks)))


def test_nothing_is_told_where_the_memory_ended_or_batches_are_counted(tmp_path: Path) -> None:
    """Memory that runs out has grown, and Lightning's batches are seen."""
    flat = {2: 372_736, 32: 372_736, 256: 372_736}
    assert () == warn_of_flat_memory(of_training(tmp_path), search(flat, "memory"))
    assert () == warn_of_flat_memory(make_case(tmp_path), search(flat))
