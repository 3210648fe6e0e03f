"""Says which batch size to train with before any measurement. Pure."""

from __future__ import annotations

_SHARE = 0.9


def safe_batch_size(largest: int) -> int:
    """Return a batch size that is safe to train with, from the predicted largest one.

    It is a share of it, since what is off is the memory of a sample; the limit is torch's own.

    0 only where nothing fits: below one sample there is nothing safer.
    """
    return max(min(largest, 1), int(_SHARE * largest))
