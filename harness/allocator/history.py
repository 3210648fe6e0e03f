"""Says from one training's allocations at which batch size memory runs out. Pure: no torch.

A probe records every allocation and free of its training. Another batch size allocates the same
blocks in the same order, and those that hold samples grow with it. Replayed at that size through
the allocator's rules, they meet the limit, or they do not.

A block holds samples if its size is a multiple of the batch size. Weights are multiples of 2 and
3 and seldom of larger primes, so a prime batch size tells them apart; see `READABLE`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from harness.allocator.caching import OutOfMemoryError
from harness.allocator.live import live_bytes
from harness.allocator.replay import replay

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.allocator.caching import CachingAllocator
    from harness.allocator.settings import AllocatorSettings

READABLE = 5
"""From this batch size on, a prime one tells the blocks that hold samples from all others."""


@dataclass(frozen=True)
class BlockHistory:
    """The allocations and frees of a training at one batch size."""

    batch_size: int
    sizes: tuple[int, ...]
    """The bytes of each block, as requested, in the order of the allocations."""
    events: tuple[int, ...]
    """Indices of `sizes`: i allocates block i, ~i (that is, -i - 1) frees it."""
    first_step: int
    """The number of events up to the end of the first optimizer step."""

    @classmethod
    def read(cls, path: Path, batch_size: int) -> Self | None:
        """Read what a probe has written; None if it could not keep all of its history."""
        try:
            data = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        return cls(batch_size, tuple(data["sizes"]), tuple(data["events"]), data["first_step"])

    def sizes_at(self, batch_size: int) -> list[int]:
        """Return the bytes of each block at another batch size."""
        own = self.batch_size
        return [size if size % own else size // own * batch_size for size in self.sizes]

    def fits(
        self,
        batch_size: int,
        limit_bytes: int,
        settings: AllocatorSettings,
        *,
        allow_thrashing: bool = True,
    ) -> bool:
        """Return whether another batch size stays below a limit on reserved bytes.

        allow_thrashing: whether it may empty the allocator's cache after the first step.
        """
        sizes = self.sizes_at(batch_size)

        def replayed(events: tuple[int, ...]) -> CachingAllocator:
            return replay(sizes, events, limit_bytes, settings)

        try:
            retries = replayed(self.events).num_retries
            return (
                allow_thrashing
                or not retries
                or retries == replayed(self.events[: self.first_step]).num_retries
            )
        except OutOfMemoryError:
            return False

    def largest(
        self,
        below: int,
        limit_bytes: int,
        settings: AllocatorSettings,
        *,
        allow_thrashing: bool = True,
    ) -> int:
        """Return the largest size from the own one on that fits, and whose next does not.

        below: the answer is smaller. If memory is not monotone there are several answers.
        """
        fits = self._fits_within(limit_bytes, settings, allow_thrashing=allow_thrashing)
        return _last_fitting(fits, self.batch_size, below, max(1, self.batch_size // 8))

    def largest_elsewhere(
        self,
        below: int,
        limit_bytes: int,
        settings: AllocatorSettings,
        *,
        allow_thrashing: bool = True,
    ) -> int:
        """Return the same for the limit of another GPU, where the own size need not fit.

        Returns 0 where nothing fits.
        """
        fits = self._fits_within(limit_bytes, settings, allow_thrashing=allow_thrashing)
        own = self.batch_size
        if fits(own):
            return self.largest(below, limit_bytes, settings, allow_thrashing=allow_thrashing)
        return _last_fitting(fits, 0, own, own)

    def _fits_within(
        self, limit_bytes: int, settings: AllocatorSettings, *, allow_thrashing: bool
    ) -> Callable[[int], bool]:
        return lambda size: self.fits(size, limit_bytes, settings, allow_thrashing=allow_thrashing)

    def rough(self, limit_bytes: int) -> int:
        """Return roughly how many samples fit, at a batch size that is too small for `largest`.

        What is live after the first step is the state of the training, and the rest of the peak is
        the samples'. This overestimates a sample where the optimizer has the peak.
        """
        live = list(live_bytes(self.sizes, self.events))
        state = live[self.first_step - 1]
        per_sample = max(1, max(live) - state) / self.batch_size
        return max(self.batch_size, int((limit_bytes - state) / per_sample))


def _last_fitting(fits: Callable[[int], bool], low: int, below: int, stride: int) -> int:
    """Return the largest size from `low`, which fits, up to `below`, which does not.

    Goes up by growing strides until a size does not fit, and then bisects.
    """
    high = below
    while high - low > 1:
        size = min(low + stride, (low + high) // 2) if high == below else (low + high) // 2
        if fits(size):
            low, stride = size, 2 * stride
        else:
            high = size
    return low
