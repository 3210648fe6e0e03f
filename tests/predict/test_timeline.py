"""The picture of the memory of a training step over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.predict import timeline
from harness.predict.holders import PeakHolders, Timeline

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


def holders(*activations: int) -> PeakHolders:
    """Return a step in which the activations come and go, and nothing else does."""
    live = {
        "parameter": tuple(4 * MIB for _ in activations),
        "activation": tuple(size * MIB for size in activations),
        "activation gradient": tuple(0 for _ in activations),
    }
    return PeakHolders(2, 4 * MIB, "", (), Timeline(live, ((0, "forward"), (1, "backward"))))


def test_picture_is_written_into_a_new_folder(tmp_path: Path) -> None:
    """The picture is a PNG; folders above it are made, and a title is no formula."""
    path = tmp_path / "new" / "step.png"
    timeline.plot(path, title="$x", holders=holders(0, 2, 0), memory_limit_bytes=100 * MIB)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_empty_step_is_drawn(tmp_path: Path) -> None:
    """A step in which nothing is allocated or freed has a picture, too."""
    path = tmp_path / "step.png"
    timeline.plot(path, title="x", holders=holders(0), memory_limit_bytes=MIB)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_long_steps_are_thinned_to_their_peaks() -> None:
    """Each stretch is drawn at its fullest event, so no peak is lost."""
    live = {"parameter": [3] * 10_001, "activation": [1] * 10_001}
    live["activation"][7_777] = 5
    drawn = timeline._thinned(live, 10_001)
    assert 7_777 in drawn
    assert len(drawn) <= 4_000


def test_thinned_step_keeps_the_peak() -> None:
    """Of each stretch the most is kept, over all kinds, in at most 32 numbers."""
    rising = tuple(range(100))
    falling = tuple(reversed(rising))
    live = {"parameter": (7,) * 200, "activation": rising + falling}
    sizes = Timeline(live, ()).thinned()
    assert (29, 106) == (len(sizes), max(sizes))
    assert sizes[:2] == (6 + 7, 13 + 7)


def test_short_step_is_kept_whole() -> None:
    """What is no longer than the lock's line stands there as it was."""
    assert (3, 5, 4) == Timeline({"parameter": (1, 1, 1), "input": (2, 4, 3)}, ()).thinned()
