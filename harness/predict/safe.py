"""Says which batch size to train with before any measurement. Pure."""

from __future__ import annotations

_SHARE = 0.95


def safe_batch_size(largest: int) -> int:
    """Return a batch size that is safe to train with, from the predicted largest one."""
    return int(_SHARE * largest)
