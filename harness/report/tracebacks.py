"""Tracebacks of workloads, as short as they can be shown: probes leave the whole ones in their logs."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path

_FRAME = re.compile(r'  File "(?P<path>[^"\n]*)", line \d+.*\n(?:    .*\n)*')
_FRAMES = re.compile(rf"(?<=^Traceback \(most recent call last\):\n)(?:{_FRAME.pattern})+", re.MULTILINE)
# Who calls the workload's hooks: the same twenty frames or so in every traceback.
_CALLERS = re.compile(r"/(?:site|dist)-packages/(?:lightning|pytorch_lightning|torch)/")
_HARNESS = str(Path(__file__).parent.parent) + "/"
# Some messages hold whole tensors, and recursion fills a thousand lines.
_MAX_COLUMNS = 500
_HEAD_LINES, _TAIL_LINES = 20, 80


def shorten(traceback: str) -> str:
    """Return a traceback without the frames of harness, Lightning and torch that lead to the workload's own.

    What is called *by* the workload stays. Lines are cut at 500 characters, and of more than 100 lines those in the
    middle are left out; each cut is marked.
    """
    text = _FRAMES.sub(lambda found: _from_the_workload_on(found[0]), traceback.rstrip() + "\n")
    lines = [
        line
        if len(line) <= _MAX_COLUMNS
        else f"{line[:_MAX_COLUMNS]}… ({len(line) - _MAX_COLUMNS} more characters)"
        for line in text.rstrip().splitlines()
    ]
    if (surplus := len(lines) - _HEAD_LINES - _TAIL_LINES) > 0:
        lines[_HEAD_LINES:-_TAIL_LINES] = [f"  ({surplus} lines left out)"]
    return "\n".join(lines)


def _from_the_workload_on(frames: str) -> str:
    found = list(_FRAME.finditer(frames))
    callers = list(takewhile(lambda frame: _calls_workloads(frame["path"]), found))
    if not callers or len(callers) == len(
        found
    ):  # torch or Lightning itself refuses: then they are all there is
        return frames
    return (
        f"  ({len(callers)} frames of harness, Lightning and torch left out)\n{frames[callers[-1].end() :]}"
    )


def _calls_workloads(path: str) -> bool:
    return path.startswith(_HARNESS) or _CALLERS.search(path) is not None
