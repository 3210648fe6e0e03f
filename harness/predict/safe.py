"""Says which batch size to train with before any measurement. Pure."""

from __future__ import annotations

import math

# Of 213 networks on real A100s, 5.2% take more than 1 / 0.9 of the simulated memory for a sample,
# and 12.7% more than 1 / 0.95 (benchmarks/gpumemnet_slopes.py; they ran under other versions of
# torch and cuDNN). Of 103 published maxima this share exceeds one (benchmarks/predict_brackets.py).
_SHARE = 0.9


def safe_if_fits(size: int) -> int:
    """Return the smallest batch size whose safe one is `size`: if it fits, `size` is safe."""
    return math.ceil(size / _SHARE)


def safe_batch_size(largest: int) -> int:
    """Return a batch size that is safe to train with, from the predicted largest one.

    It is a share of it, because a sample's memory is what may be off: the limit is torch's own. It
    is 0 only where nothing fits, because below one sample there is nothing safer.
    """
    return max(min(largest, 1), int(_SHARE * largest))
