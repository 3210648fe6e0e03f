"""Names the batch sizes whose speeds are compared. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A size that has less than this share of the best speed in the search is not timed. A probe of the
# search times two steps or so, which may be off by a factor of 2.
_HOPELESS = 0.25


def candidates(minimum: int, largest: int, step: int, also: int | None = None) -> tuple[int, ...]:
    """Return the sizes to compare, smallest first: `step` times powers of two, and the largest.

    Steps of two are what a speed changes by visibly. Powers of two stay the same where the largest
    size moves by a sample from run to run.

    minimum: no smaller size is compared.
    largest: the largest tuned batch; 0 where nothing fits.
    step: sizes are multiples of it, unless the largest is smaller.
    also: a further size, such as the locked one, where it is within these limits.
    """
    if largest < 1:
        return ()
    step = step if step <= largest else 1
    sizes = {largest}
    size = step
    while size < largest:
        sizes.add(size)
        size *= 2
    if also is not None and also <= largest and also % step == 0:
        sizes.add(also)
    return tuple(sorted(size for size in sizes if size >= minimum or size == largest))


def spaced(allowed: Sequence[int], also: int | None = None) -> tuple[int, ...]:
    """Return the sizes to compare where only some are allowed, such as divisors of a number.

    They are at least a factor of two apart, and the largest, and `also` if it is allowed.

    allowed: smallest first.
    """
    sizes = {*allowed[-1:], *((also,) if also in allowed else ())}
    wanted = 1
    for size in allowed:
        if size >= wanted:
            sizes.add(size)
            wanted = 2 * size
    return tuple(sorted(sizes))


def without_hopeless(sizes: Sequence[int], known: Mapping[int, float]) -> tuple[int, ...]:
    """Leave out the sizes of which the search has already seen that they are far too slow.

    Where one size is, so are those below it: a step of fewer samples takes little less time there.

    known: samples/s of the batch sizes that the search has probed.
    """
    fastest = max(known, key=known.__getitem__, default=0)
    slow = max(
        (size for size in known if size < fastest and known[size] < _HOPELESS * known[fastest]),
        default=0,
    )
    return tuple(size for size in sizes if size > slow or size == sizes[-1])
