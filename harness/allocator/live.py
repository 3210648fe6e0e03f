"""Counts the bytes that are live in a training. Pure."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


def live_bytes(sizes: Sequence[int], events: Iterable[int]) -> Iterator[int]:
    """Yield the bytes that are live after each event of a training whose blocks have these sizes.

    sizes: bytes by block. events: i allocates block i, ~i (that is, -i - 1) frees it.
    """
    return accumulate(sizes[event] if event >= 0 else -sizes[~event] for event in events)
