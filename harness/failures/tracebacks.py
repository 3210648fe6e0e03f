"""Writes the traceback of an exception in bounded size, whatever the exception holds.

A traceback goes through pipes, reports and JUnit files. Messages may hold whole tensors, and a
recursion as many frames as its limit allows.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from harness.failures.exceptions import chain_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

# A traceback keeps this many characters of its beginning, and as many of its end.
_HALF = 32 << 10
# Of each exception, the first and the last frames: Lightning's are first, the user's come last.
_HALF_OF_FRAMES = 100
# An exception may have been raised from others, and these from further ones.
_MAX_LINKS = 50


def traceback_of(error: BaseException) -> str:
    """Return the traceback with its chain; what is too long is left out, and a line says so.

    It drops what it leaves out from the exceptions themselves: nobody else needs their frames.
    """
    links = list(chain_of(error, lambda link: link.__cause__ or link.__context__))
    for link in links[:_MAX_LINKS]:
        _prune(link)
    if len(links) > _MAX_LINKS:
        last = links[_MAX_LINKS - 1]
        last.__cause__ = last.__context__ = None
    try:
        return cut(traceback.TracebackException.from_exception(error).format())
    except Exception as second:  # noqa: BLE001 - the parts of an exception may raise anything
        return (
            f"{type(error).__qualname__} (its traceback cannot be shown: "
            f"{type(second).__qualname__})\n"
        )


def cut(pieces: Iterable[str]) -> str:
    """Return the pieces of a text as one, with a line in place of a middle that is too long."""
    head: list[str] = []
    tail = ""
    room = _HALF
    left_out = 0
    for piece in pieces:
        first = piece[:room]
        head.append(first)
        room -= len(first)
        rest = piece[len(first) :]
        if not rest:
            continue
        joined = tail + rest[-_HALF:]
        left_out += len(tail) + len(rest) - len(joined[-_HALF:])
        tail = joined[-_HALF:]
    if left_out:
        head.append(f"\n[gpu-profile: {left_out:,} characters are left out here]\n")
    return "".join(head) + tail


def _prune(error: BaseException) -> None:
    """Cut the middle out of an exception's frames, if there are very many."""
    frames: list[TracebackType] = []
    link = error.__traceback__
    while link is not None:
        frames.append(link)
        link = link.tb_next
    if len(frames) > 2 * _HALF_OF_FRAMES:
        frames[_HALF_OF_FRAMES - 1].tb_next = frames[-_HALF_OF_FRAMES]
