"""Says which batch size to train with before any measurement. Pure."""

from __future__ import annotations

# Of 213 networks on real A100s, 5.2% take more than 1 / 0.9 of the simulated memory for a sample, and
# 12.7% more than 1 / 0.95 (benchmarks/gpumemnet_slopes.py; they ran under other versions of torch
# and cuDNN). Of the published batches of benchmarks/predict_brackets.py, it is at most one in fifty
# that fails at this share.
_SHARE = 0.9


def safe_batch_size(largest: int) -> int:
    """Return a batch size that is safe to train with, from the predicted largest one.

    It is a share of it, because the memory of a sample is what may be off: the limit is torch's own.
    It is 0 only where nothing fits, because below one sample there is nothing safer.
    """
    return max(min(largest, 1), int(_SHARE * largest))
