"""Makes batches whose samples are of one bucket of lengths, each bucket with a size of its own.

Imports no torch: torch's `DataLoader` takes any object that gives lists of indices.
"""

from __future__ import annotations

import bisect
import random
import sys
from typing import TYPE_CHECKING, Any

from harness.case_names import label
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_REMEDY = (
    "crop them or leave them out, or add an edge to models.LABEL.buckets.edges and lock it again"
)


class BucketBatchSampler:
    """Gives the indices of each batch: samples of one bucket, and at most as many as its size.

    It is a `batch_sampler` of torch's `DataLoader`. All ranks get equal numbers of batches, and in
    each step all of them get one of the same bucket and size: pass
    `Trainer(use_distributed_sampler=False)`, as Lightning replaces other samplers.

    Args:
        lengths: the length of each sample, by its index: a list, an array or a tensor.
        bucket_batch_sizes: the batch size of each bucket by its edge, the longest length that it
            takes: `load_profile(...).bucket_batch_sizes`.
        shuffle: draw the samples of a batch, and the order of the batches, anew in each epoch;
            else the samples come in their order, the shortest bucket first.
        seed: with the number of the epoch it decides both.
        drop_last: leave out the last batch of each bucket where it is smaller than the size.
        num_replicas: the processes that train together; by default those of torch.distributed,
            where that has begun, or else 1.
        rank: the number of this one, from 0 on; by default that of torch.distributed.

    Raises HarnessError for a sample that is longer than the last edge, and for values that make no
    batch.

    """

    def __init__(
        self,
        lengths: Iterable[float],
        bucket_batch_sizes: Mapping[int, int] | Mapping[float, int],
        *,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        num_replicas: int | None = None,
        rank: int | None = None,
    ) -> None:
        self.bucket_batch_sizes = _checked(bucket_batch_sizes)
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.num_replicas, self.rank = _place(num_replicas, rank)
        self.epoch = 0
        self._buckets = _sorted_into(lengths, list(self.bucket_batch_sizes))

    @property
    def sampler(self) -> BucketBatchSampler:
        """The sampler itself: Lightning tells the epoch to the sampler of a batch sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Set the number of the epoch, by which the samples are drawn; Lightning does it itself."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the batches of an epoch, on this rank as on every other."""
        return sum(
            self._num_batches(len(members), size)
            for members, size in zip(self._buckets, self.bucket_batch_sizes.values(), strict=True)
        )

    def __iter__(self) -> Iterator[list[int]]:
        """Give the batches of this rank."""
        # A text is hashed alike by every process and every version of Python.
        draw = random.Random(f"{self.seed} {self.epoch}")  # noqa: S311 - no secret
        batches: list[list[int]] = []
        for members, size in zip(self._buckets, self.bucket_batch_sizes.values(), strict=True):
            indices = list(members)
            if self.shuffle:
                draw.shuffle(indices)
            batches += self._batches(indices, size)
        if self.shuffle:
            draw.shuffle(batches)
        return iter(batches)

    def _batches(self, indices: list[int], size: int) -> Iterator[list[int]]:
        """Yield this rank's part of each step: as many samples as every other rank has.

        Where the last step's samples are too few for that, the bucket's first ones come once more.
        """
        step = size * self.num_replicas
        for at in range(0, len(indices), step):
            of_all = indices[at : at + step]
            if len(of_all) < step and self.drop_last:
                return
            missing = -len(of_all) % self.num_replicas
            while missing:
                more = indices[:missing]
                of_all = of_all + more
                missing -= len(more)
            share = len(of_all) // self.num_replicas
            yield of_all[self.rank * share : (self.rank + 1) * share]

    def _num_batches(self, num_samples: int, size: int) -> int:
        step = size * self.num_replicas
        return num_samples // step if self.drop_last else -(-num_samples // step)


def _checked(sizes: Mapping[int, int] | Mapping[float, int]) -> dict[float, int]:
    """Return the batch sizes in the order of their edges."""
    if not sizes:
        raise HarnessError(
            "bucket_batch_sizes is empty; a mapping of edges to batch sizes is needed, such as "
            "{128: 64, 256: 31}. A profile has one where its model has `buckets` in the matrix"
        )
    for edge, size in sizes.items():
        if isinstance(edge, bool) or not isinstance(edge, (int, float)) or not edge > 0:
            raise HarnessError(f"bucket_batch_sizes: {edge!r:.60} is no edge; a number above 0 is")
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise HarnessError(
                f"bucket_batch_sizes: {size!r:.60}, of the bucket up to {label(edge)}, is no batch "
                "size; a whole number from 1 is"
            )
    return dict(sorted(sizes.items()))


def _place(num_replicas: int | None, rank: int | None) -> tuple[int, int]:
    """Return the number of processes, and that of this one."""
    distributed: Any = sys.modules.get("torch.distributed")
    begun = distributed is not None and distributed.is_available() and distributed.is_initialized()
    if num_replicas is None:
        num_replicas = distributed.get_world_size() if begun else 1
    if rank is None:
        rank = distributed.get_rank() if begun else 0
    if num_replicas < 1 or not 0 <= rank < num_replicas:
        raise HarnessError(
            f"rank {rank} of num_replicas {num_replicas}: ranks are from 0 to num_replicas - 1"
        )
    return num_replicas, rank


def _sorted_into(lengths: Iterable[float], edges: list[float]) -> list[list[int]]:
    """Return the indices of the samples of each bucket."""
    buckets: list[list[int]] = [[] for _ in edges]
    too_long: list[tuple[int, float]] = []
    # A tensor gives tensors, which are slow to compare.
    numbers = lengths.tolist() if hasattr(lengths, "tolist") else lengths
    for index, length in enumerate(numbers):
        if not length <= edges[-1]:  # also where it is no number
            too_long.append((index, length))
        else:
            buckets[bisect.bisect_left(edges, length)].append(index)
    if too_long:
        index, length = max(too_long, key=lambda one: one[1])
        many = f"{len(too_long)} samples are" if len(too_long) > 1 else "a sample is"
        raise HarnessError(
            f"{many} longer than the last edge, {label(edges[-1])}; the longest has {length} (index "
            f"{index}): {_REMEDY}"
        )
    return buckets
