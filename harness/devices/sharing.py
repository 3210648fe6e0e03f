"""Lets cases that claim a part of a GPU's memory run on it side by side.

A case that shares holds the GPU's lock in common with others, so no case that needs the whole GPU
runs beside it. Its claim stands in a lock file of its own, one of several *seats* of the GPU. What
stands in a seat that nobody holds is no claim, so it is free as soon as a case's process has ended.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.bounded_file import UnreadableFileError, read_bounded
from harness.file_locks import HeldLock, is_locked, try_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NUM_SEATS = 16
"""The most cases that share one GPU."""

_CLAIM = re.compile(rb"claim (\d{1,18})\n")
_MAX_BYTES = 512


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The other cases on a GPU at one moment."""

    number: int = 0
    claimed_bytes: int = 0


def lock_a_part(path: Path, claim_bytes: int, room_bytes: int) -> HeldLock | None:
    """Lock a part of a GPU's memory; return None where others hold too much of it.

    path: the GPU's lock file.
    room_bytes: what all cases together may claim.

    The caller has the turn of the GPU, so one at a time looks at the claims and adds its
    own. Raises as `try_lock`.
    """
    whole = try_lock(path, shared=True)
    if whole is None:
        return None
    seat = None
    if neighbours(path).claimed_bytes + claim_bytes <= room_bytes:
        seat = _take_seat(path, claim_bytes)
    if seat is None:
        whole.release()
        return None
    return HeldLock.of(path, whole, seat)


def neighbours(path: Path, own: HeldLock | None = None) -> Neighbours:
    """Return the cases that share a GPU now, without the one that holds `own`.

    A claim that cannot be read counts as all of the memory.
    """
    taken = [seat for seat in _seats(path) if is_locked(seat) and not (own and own.includes(seat))]
    return Neighbours(len(taken), sum(map(_claimed, taken)))


def _take_seat(path: Path, claim_bytes: int) -> HeldLock | None:
    for place in _seats(path):
        try:
            seat = try_lock(place)
        except OSError:  # something else in its place
            continue
        if seat is None:
            continue
        if seat.write(f"claim {claim_bytes}\n"):
            return seat
        seat.release()  # another user's file: the claim could not be read there
    return None


def _claimed(seat: Path) -> int:
    try:
        found = _CLAIM.search(read_bounded(seat, _MAX_BYTES) or b"")
    except UnreadableFileError:
        found = None
    return int(found[1]) if found else 1 << 62


def _seats(path: Path) -> Iterator[Path]:
    for number in range(NUM_SEATS):
        yield path.with_name(f"{path.stem}-seat-{number}{path.suffix}")
