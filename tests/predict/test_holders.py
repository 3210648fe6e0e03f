"""Reading what a probe found to hold the memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from harness.predict.holders import Holder, PeakHolders

if TYPE_CHECKING:
    from pathlib import Path

WRITTEN = {
    "batch_size": 3,
    "peak_bytes": 70,
    "phase": "step 2 backward",
    "holders": [
        ["activation", "blocks.0", "work.py:33", 30],
        ["activation", "blocks.0", "work.py:34", 20],
        ["parameter", "", "", 20],
    ],
    "timeline": {
        "kinds": ["parameter", "activation"],
        "start": [20, 0],
        "events": [[1, 50], [1, -20], [0, -20]],
        "phases": [[0, "forward"], [1, "backward"]],
    },
}


@pytest.fixture
def read(tmp_path: Path) -> PeakHolders:
    """Read what was written."""
    path = tmp_path / "holders.json"
    path.write_text(json.dumps(WRITTEN))
    return PeakHolders.read(path)


def test_peak_is_read_with_its_holders(read: PeakHolders) -> None:
    """The batch size, the peak, its phase and each holder are those that were written."""
    assert (3, 70, "step 2 backward") == (read.batch_size, read.peak_bytes, read.phase)
    assert (
        Holder("activation", "blocks.0", "work.py:33", 30),
        Holder("activation", "blocks.0", "work.py:34", 20),
        Holder("parameter", "", "", 20),
    ) == read.holders


def test_timeline_has_each_kind_after_each_event(read: PeakHolders) -> None:
    """Each kind starts with what was live before the step, and changes with its own events."""
    assert {
        "parameter": (20, 20, 20, 0),
        "activation": (0, 50, 30, 30),
    } == read.timeline.live
    assert ((0, "forward"), (1, "backward")) == read.timeline.phases


def test_kinds_are_summed(read: PeakHolders) -> None:
    """A kind without a holder holds nothing."""
    kinds = read.by_kind()
    assert [50, 20, 0] == [kinds[kind] for kind in ("activation", "parameter", "gradient")]


@pytest.mark.parametrize(
    ("holder", "name"),
    [
        (Holder("activation", "blocks.0", "work.py:33", 1), "activation of blocks.0"),
        (Holder("activation", "", "work.py:33", 1), "activation outside of all modules"),
        (Holder("workspace", "cuBLAS", "", 1), "workspace of cuBLAS"),
        (Holder("optimizer", "", "", 1), "optimizer"),
    ],
)
def test_name_of_a_holder_has_no_line(holder: Holder, name: str) -> None:
    """Locks keep the name: lines move with every edit of a file."""
    assert name == str(holder)
