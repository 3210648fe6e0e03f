"""Shortens the tracebacks of workloads; the logs of the probes keep the whole ones."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path

_FRAME = re.compile(r'  File "(?P<path>[^"\n]*)", line \d+.*\n(?:    .*\n)*')
_FRAMES = re.compile(
    rf"(?<=^Traceback \(most recent call last\):\n)(?:{_FRAME.pattern})+", re.MULTILINE
)
# A HarnessError says all that its user needs: where it was raised says nothing more.
_OWN_ERROR = re.compile(r"harness\.[\w.]+Error: ")
# These call the workload's hooks, with about the same twenty frames in every traceback.
_CALLERS = re.compile(r"/(?:site|dist)-packages/(?:lightning|pytorch_lightning|torch)/")
_HARNESS = str(Path(__file__).parent.parent) + "/"
# Some messages hold whole tensors, and recursion fills a thousand lines.
_MAX_COLUMNS = 500
_HEAD_LINES, _TAIL_LINES = 20, 80


def shorten(traceback: str) -> str:
    """Return a traceback without the frames that lead to the workload's own.

    These are frames of gpu-profile, Lightning and torch. Frames that the workload calls stay. Lines
    are cut at 500 characters, and of more than 100 lines the middle is left out. Each cut is
    marked.
    """
    text = _FRAMES.sub(_from_the_workload_on, traceback.rstrip() + "\n")
    lines = [
        line
        if len(line) <= _MAX_COLUMNS
        else f"{line[:_MAX_COLUMNS]}… ({len(line) - _MAX_COLUMNS} more characters)"
        for line in text.rstrip().splitlines()
    ]
    if (surplus := len(lines) - _HEAD_LINES - _TAIL_LINES) > 0:
        lines[_HEAD_LINES:-_TAIL_LINES] = [f"  ({surplus} lines left out)"]
    return "\n".join(lines)


def _from_the_workload_on(matched: re.Match[str]) -> str:
    frames = matched[0]
    found = list(_FRAME.finditer(frames))
    callers = list(takewhile(lambda frame: _calls_workloads(frame["path"]), found))
    # If all frames are callers, torch or Lightning itself raised the error: show them all.
    raised_here = _OWN_ERROR.match(matched.string, matched.end()) is not None
    if not callers or (len(callers) == len(found) and not raised_here):
        return frames
    own = frames[callers[-1].end() :]
    return f"  ({len(callers)} frames of gpu-profile, Lightning and torch left out)\n{own}"


def _calls_workloads(path: str) -> bool:
    return path.startswith(_HARNESS) or _CALLERS.search(path) is not None
