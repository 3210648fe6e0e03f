"""Puts paths, hints for unknown words and ends of processes into words, for several folders."""

from __future__ import annotations

import os
import signal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from harness.visible import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

RELOCK = "pytest --gpu-profile --gpu-profile-update"
"""The command that locks every case anew."""

# Comparing takes time with more or longer words, and nobody reads longer lists.
_MAX_COMPARED = 1_000
_MAX_WORD = 60
_MAX_LISTED = 40


def shown_path(path: Path) -> str:
    """Return a path in one line, as the user would type it."""
    return one_line(typed_path(path))


def typed_path(path: Path) -> str:
    """Return a path as the user would type it: relative if it is below the working directory.

    For programs: it holds whatever the names of the folders hold.
    """
    absolute = os.path.abspath(path)  # noqa: PTH100 - Path.resolve would follow links
    here = str(Path.cwd()) + os.sep
    return absolute.removeprefix(here)


def nearest(word: str, known: Iterable[str], kind: str) -> str:
    """Return a hint for an unknown word: the most similar known word, or else a list of them."""
    choices = list(known)
    comparable = len(choices) <= _MAX_COMPARED and len(word) <= _MAX_WORD
    if comparable and (close := closest(word, choices)):
        return f"did you mean {one_line(close)}?"
    return f"{kind}: {listed(choices)}" if choices else f"there are no {kind}"


def listed(words: Iterable[str]) -> str:
    """Return the first words of a list, each cut to a length that people read."""
    first = [*islice(words, _MAX_LISTED + 1)]
    shown = [
        one_line(word) if len(word) <= _MAX_WORD else f"{one_line(word[:_MAX_WORD])}…"
        for word in first[:_MAX_LISTED]
    ]
    return ", ".join([*shown, *(["…"] if len(first) > _MAX_LISTED else [])])


def closest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known word that is most similar to an unknown one, None where none is similar.

    cutoff: the least similarity that counts, from 0 to 1, as difflib measures it.
    """
    from difflib import get_close_matches  # noqa: PLC0415 - only a mistake costs its 3 ms

    return next(iter(get_close_matches(word, list(known), 1, cutoff)), None)


def describe_exit(exit_code: int) -> str:
    """Return how a process ended: `exited with code 1`, `was killed by SIGKILL`."""
    if exit_code < 0:
        number = -exit_code
        named = number in signal.Signals.__members__.values()  # most of the real-time ones are not
        return f"was killed by {signal.Signals(number).name if named else f'signal {number}'}"
    return f"exited with code {exit_code}"
