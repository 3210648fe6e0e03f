"""The memory of a training step over time, from a trace."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.predict import timeline
from harness.predict.gpus import by_label
from harness.predict.largest_batch import Limits
from harness.predict.prediction import Prediction
from harness.predict.trace import Block, Mark, Trace

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
PREDICTION = Prediction(
    gpu=by_label("T4"),
    max_batch_size=10,
    shown_batch_size=10,
    safe_batch_size=9,
    bounded_by="memory",
    limits=Limits(100 * MIB, 8 * MIB),
    peak_memory_bytes=90 * MIB,
    peak_phase="step 2 forward",
    holders=(),
    notes=(),
)


def trace(size: int) -> Trace:
    """Return two steps: parameters and workspace stay; activation and gradient come and go."""
    blocks = (
        Block(4 * MIB, "parameter", "net"),
        Block(0, "workspace", "cuBLAS"),
        Block(size * MIB, "activation", "net"),
        Block(3 * MIB, "gradient", "net"),
        Block(2 * MIB, "scratch", "attention"),
    )
    events = (0, 1, 2, ~2, 2, 3, 4, ~4, ~2, ~3, 2)
    marks = (
        Mark(0, "model"),
        Mark(1, "step 1 forward"),
        Mark(4, "step 2 forward"),
        Mark(5, "step 2 backward"),
        Mark(10, "validation"),
    )
    return Trace(size, blocks, events, marks)


def test_series_are_of_the_second_step_at_the_predicted_batch() -> None:
    """Each kind has one value in bytes per event of step 2; phases count from its first event."""
    live, phases = timeline.series(trace(10), PREDICTION)
    assert {
        "parameter": [4] * 6,
        "gradient": [0, 3, 3, 3, 3, 0],
        "optimizer": [0] * 6,
        "workspace": [8] * 6,
        "input": [0] * 6,
        "activation": [10, 10, 10, 10, 0, 0],
        "scratch": [0, 0, 2, 0, 0, 0],
    } == {kind: [size // MIB for size in sizes] for kind, sizes in live.items()}
    assert [(0, "forward"), (1, "backward")] == phases


def test_picture_is_written_also_where_nothing_fits(tmp_path: Path) -> None:
    """The picture is a PNG in a new folder, even if no batch fits."""
    path = tmp_path / "new" / "step.png"
    timeline.plot(
        path, title="$x", trace=trace(2), prediction=replace(PREDICTION, max_batch_size=0)
    )
    assert path.read_bytes().startswith(b"\x89PNG")


def test_long_steps_are_thinned_to_their_peaks() -> None:
    """Each stretch is drawn at its fullest event, so no peak is lost."""
    live = {kind: [0] * 10_001 for kind in timeline._KINDS}
    live["activation"] = [1] * 10_001
    live["activation"][7_777] = 5
    drawn = timeline._thinned(live, 10_001)
    assert 7_777 in drawn
    assert len(drawn) <= 4_000
