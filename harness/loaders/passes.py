"""Counts the samples that one pass over a loader gives, where that can be known beforehand.

The length of the data set is not enough: a sampler may leave most samples out, or draw each of them
ten times.
"""

from __future__ import annotations

from typing import Any

from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from harness.loaders.counted_batches import collates_as_torch

# Accelerate need not be there.
_SHARD = ("accelerate.data_loader", "BatchSamplerShard")


def samples_in_pass(loader: Any) -> int | None:
    """Return the number of samples in a pass over a loader.

    Returns None where only a pass tells: for batch samplers, loaders and streams of the user's own,
    and for data sets that make their batches themselves. Where accelerate gives each rank its part
    of the batches, the samples are those of all ranks.
    """
    if not isinstance(loader, DataLoader):
        return None
    if isinstance(loader.dataset, IterableDataset):
        # Several workers may each give the whole stream. A batch of a stream that makes its batches
        # itself has no known size.
        alone = loader.num_workers <= 1 and collates_as_torch(loader)
        return _length(loader.dataset) if alone else None
    # A sampler of batches may also stand in the place of the sampler: the data set gives batches.
    batches: Any = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
    if (type(batches).__module__, type(batches).__name__) == _SHARD:
        batches = batches.batch_sampler
    same_iteration = type(loader).__iter__ is DataLoader.__iter__
    if type(batches) is BatchSampler and same_iteration:
        return _length(batches.sampler)
    return None


def _length(thing: Any) -> int | None:
    try:
        return len(thing)
    except Exception:  # noqa: BLE001 - it has none, or the user's own does not work
        return None
