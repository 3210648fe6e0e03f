"""Makes a global batch of a locked profile's micro-batches, on one device or on several.

Refuses what cannot be made exactly, with the nearest global batches that can.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from harness.errors import HarnessError
from harness.global_batch.divisors import LARGEST, micro_batches
from harness.wording import RELOCK

if TYPE_CHECKING:
    from harness.measurement import Profile

# A micro-batch below this share of the locked batch leaves most of the device idle.
_SMALL = 0.5
# So many global batches are tried on each side, to name one that can be made.
_TRIED = 256


class Accumulation(NamedTuple):
    """An optimizer step: so many micro-batches on each rank."""

    batch_size: int
    """The micro-batch: samples of one forward pass on one rank."""
    accumulate_grad_batches: int
    """The micro-batches of a rank before an optimizer step."""


def accumulation(profile: Profile, global_batch_size: int | None, num_ranks: int) -> Accumulation:
    """Return the micro-batch and the accumulation; see `LockedProfile.accumulation`."""
    ranks = _count("num_ranks", num_ranks)
    total = profile.global_batch_size if global_batch_size is None else global_batch_size
    if total is None:
        raise HarnessError(
            f"{profile.case_id} is locked without a global batch size: name one with "
            "global_batch_size=, or set search.global_batch_size in the matrix and lock it with "
            f"`{RELOCK}`"
        )
    total = _count("global_batch_size", total)
    size = _micro_batch(profile, total, ranks)
    if size is None:
        raise HarnessError(_impossible(profile, total, ranks))
    if size < _SMALL * profile.batch_size and total > size * ranks:
        import logging  # noqa: PLC0415 - several ms; only a small micro-batch needs it

        logging.getLogger("harness").warning(
            "%s: a global batch of %d on %s takes micro-batches of %d, where %d is locked: no "
            "larger one makes it exactly; a global batch of %s would",
            profile.case_id,
            total,
            _ranks(ranks),
            size,
            profile.batch_size,
            " or ".join(map(str, _multiples(profile, total, ranks))),
        )
    return Accumulation(size, total // (ranks * size))


def _micro_batch(profile: Profile, total: int, ranks: int) -> int | None:
    """Return the largest micro-batch that makes a global batch; None where none does."""
    if total % ranks:
        return None
    least, unit = (_setting(profile, name) for name in ("min_batch_size", "round_to"))
    if profile.batch_size % unit:
        unit = 1  # the locked batch is too small to be rounded
    sizes = micro_batches(total // ranks, min(least, profile.batch_size), profile.batch_size)
    return max((size for size in sizes if size % unit == 0), default=None)


def _impossible(profile: Profile, total: int, ranks: int) -> str:
    if total % ranks:
        reason = f"{ranks} ranks do not divide it"
    else:
        reason = f"no micro-batch up to the locked one, {profile.batch_size}, makes it"
        limits = [
            f"search.{name} {_setting(profile, name)}"
            for name in ("min_batch_size", "round_to")
            if _setting(profile, name) > 1
        ]
        reason += f" ({', '.join(limits)})" if limits else ""
    near = " and ".join(map(str, _nearest(profile, total, ranks)))
    return (
        f"{profile.case_id}: global_batch_size={total} cannot be made exactly on "
        f"{_ranks(ranks)}: {reason}; the nearest that can: {near}"
    )


def _nearest(profile: Profile, total: int, ranks: int) -> list[int]:
    """Return the nearest global batch below and above that can be made."""
    first = total - total % ranks
    below = range(first if first < total else first - ranks, 0, -ranks)
    above = range(first + ranks, LARGEST, ranks)
    near = [
        next((one for one in candidates[:_TRIED] if _micro_batch(profile, one, ranks)), None)
        for candidates in (below, above)
    ]
    return [one for one in near if one is not None] or _multiples(profile, total, ranks)


def _multiples(profile: Profile, total: int, ranks: int) -> list[int]:
    """Return the nearest global batches that whole locked batches make, below and above."""
    step = ranks * profile.batch_size
    return [one for one in (total - total % step, total - total % step + step) if one]


def _ranks(number: int) -> str:
    return f"{number} rank{'s' * (number > 1)}"


def _setting(profile: Profile, name: str) -> int:
    """Return a setting that is a whole number; the lock leaves out those that are the default."""
    value = profile.settings.get(f"search.{name}", 1)
    return value if isinstance(value, int) and value > 0 else 1


def _count(name: str, value: Any) -> int:
    """Return a whole number from 1, also one of NumPy's; refuse anything else."""
    is_whole = hasattr(value, "__index__") and not isinstance(value, bool)
    if not is_whole or not 1 <= value.__index__() <= LARGEST:
        raise HarnessError(f"{name}={value!r}: a whole number from 1 to {LARGEST} is needed")
    return int(value.__index__())
