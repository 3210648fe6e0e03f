"""The memory of one training step over time, by what holds it, as a picture."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from harness.figures import HIGHLIGHT, new_figure, save
from harness.predict.largest_batch import block_sizes
from harness.units import format_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from harness.predict.prediction import Prediction
    from harness.predict.trace import Trace

_MIB, _GIB = 1 << 20, 1 << 30
_KINDS = ("parameter", "gradient", "optimizer", "workspace", "input", "activation", "scratch")
# Okabe and Ito's palette: told apart with any colour vision.
_COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#999999", "#F0E442", "#E69F00", "#CC79A7")
_INCHES = (9.0, 4.8)
_STEP = "step 2 "
# A limit that many times above the memory is told, and not drawn: nothing else would be seen.
_FAR = 4
# More points than the picture has columns tell nothing.
_MAX_POINTS = 4000
# Phases narrower than this share of the picture go without their name.
_MIN_NAMED = 0.06


def series(
    trace: Trace, prediction: Prediction
) -> tuple[dict[str, list[int]], list[tuple[int, str]]]:
    """Return the live bytes of each kind after each event of step 2, and where its phases begin."""
    sizes = block_sizes(trace, prediction.limits)
    marks = [mark for mark in trace.marks if mark.phase.startswith(_STEP)]
    start = marks[0].event
    end = next(
        (
            mark.event
            for mark in trace.marks
            if mark.event > marks[-1].event and mark.phase == "validation"
        ),
        len(trace.events),
    )
    live = dict.fromkeys(_KINDS, 0)
    found: dict[str, list[int]] = {kind: [] for kind in _KINDS}
    for number, event in enumerate(trace.events[:end]):
        block = event if event >= 0 else ~event
        live[trace.blocks[block].kind] += sizes[block] if event >= 0 else -sizes[block]
        if number >= start:
            for kind in _KINDS:
                found[kind].append(live[kind])
    return found, [(mark.event - start, mark.phase.removeprefix(_STEP)) for mark in marks]


def plot(path: Path, *, title: str, trace: Trace, prediction: Prediction) -> None:
    """Draw the second step as a PNG: live bytes by kind, its phases, and the limit.

    `trace` is of the batch size that is drawn. Missing folders of `path` are made.
    """
    live, phases = series(trace, prediction)
    count = len(live["parameter"])
    times = _thinned(live, count)
    top: float = max(sum(live[kind][time] for kind in _KINDS) for time in times)
    unit, name = (_GIB, "GiB") if top >= _GIB else (_MIB, "MiB")
    figure, axes = new_figure(_INCHES, title)
    shown = [kind for kind in _KINDS if any(live[kind])]
    axes.stackplot(
        times,
        [[live[kind][time] / unit for time in times] for kind in shown],
        colors=[_COLOURS[_KINDS.index(kind)] for kind in shown],
        labels=shown,
        linewidth=0,
        step="post",
    )
    top /= unit
    ceiling = prediction.limits.memory_limit_bytes / unit
    line: dict[str, Any] = {
        "color": HIGHLIGHT,
        "linestyle": "--",
        "linewidth": 1.4,
        "label": "limit on reserved memory",
    }
    if ceiling > _FAR * top:
        line["label"] = f"limit, {format_bytes(prediction.limits.memory_limit_bytes)}, is far above"
        ceiling = top
        axes.plot([], [], **line)
    else:
        axes.axhline(ceiling, **line)
    for (begin, phase), (end, _) in pairwise([*phases, (count, "")]):
        axes.axvline(begin, color="#666666", linewidth=0.8, linestyle=":")
        if end - begin >= _MIN_NAMED * count:
            axes.text(
                (begin + end) / 2, 1.01 * ceiling, phase, ha="center", va="bottom", fontsize=9
            )
    axes.set_xlim(0, max(count - 1, 1))
    axes.set_ylim(0, 1.12 * max(ceiling, top))
    axes.set_xlabel("allocations and frees of the second training step, in their order")
    axes.set_ylabel(f"live memory ({name})")
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9, reverse=True
    )
    save(figure, path)


def _thinned(live: dict[str, list[int]], count: int) -> list[int]:
    """Return the events to draw: all, or of each stretch the one where most is live."""
    if count <= _MAX_POINTS:
        return list(range(count))
    total = [sum(live[kind][time] for kind in _KINDS) for time in range(count)]
    width = -(-count // _MAX_POINTS)
    return [
        max(range(begin, min(begin + width, count)), key=total.__getitem__)
        for begin in range(0, count, width)
    ]
