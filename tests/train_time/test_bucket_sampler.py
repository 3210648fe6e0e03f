"""The sampler of buckets: what a batch holds, what an epoch holds, and equal shares of ranks."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from harness import BucketBatchSampler, HarnessError

LENGTHS = [1 + number * 7 % 40 for number in range(101)]
SIZES = {10: 8, 20: 4, 40: 2}


def bucket_of(index: int) -> int:
    """Return the edge of a sample's bucket."""
    return min(edge for edge in SIZES if LENGTHS[index] <= edge)


def test_a_batch_holds_samples_of_one_bucket() -> None:
    """At most as many as its size, and each sample comes once."""
    batches = list(BucketBatchSampler(LENGTHS, SIZES))
    for batch in batches:
        (edge,) = {bucket_of(index) for index in batch}
        assert 0 < len(batch) <= SIZES[edge]
    assert list(range(101)) == sorted(index for batch in batches for index in batch)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("num_replicas", [1, 3])
def test_the_length_is_that_of_the_batches(*, drop_last: bool, num_replicas: int) -> None:
    """On every rank alike, and none is smaller than its size where the last is dropped."""
    for rank in range(num_replicas):
        sampler = BucketBatchSampler(
            LENGTHS, SIZES, drop_last=drop_last, num_replicas=num_replicas, rank=rank
        )
        batches = list(sampler)
        assert len(sampler) == len(batches)
        if drop_last:
            assert {SIZES[bucket_of(batch[0])] - len(batch) for batch in batches} == {0}


def test_ranks_train_batches_of_one_bucket_and_size() -> None:
    """In each step; together they see every sample, and repeat fewer than there are ranks."""
    ranks = [list(BucketBatchSampler(LENGTHS, SIZES, num_replicas=4, rank=at)) for at in range(4)]
    for step in zip(*ranks, strict=True):
        assert len({(bucket_of(batch[0]), len(batch)) for batch in step}) == 1
    seen = sorted(index for batches in ranks for batch in batches for index in batch)
    assert set(range(101)) == set(seen)
    assert len(seen) - 101 < 3 * 4


def test_more_ranks_than_samples_repeat_them() -> None:
    """Each of seven ranks gets one of two samples."""
    ranks = [list(BucketBatchSampler([1, 2], {2: 5}, num_replicas=7, rank=at)) for at in range(7)]
    assert [1] * 7 == [len(batches) for batches in ranks]
    assert {(0,), (1,)} == {tuple(batches[0]) for batches in ranks}


def test_an_epoch_is_drawn_by_seed_and_number() -> None:
    """Equal ones are equal, in other processes too, and others differ."""
    sampler = BucketBatchSampler(LENGTHS, SIZES, seed=5)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    sampler.set_epoch(0)
    assert first == list(sampler)
    assert first != second
    assert first != list(BucketBatchSampler(LENGTHS, SIZES, seed=6))


def test_without_shuffling_samples_keep_their_order() -> None:
    """The shortest bucket comes first."""
    batches = list(BucketBatchSampler([5, 1, 9, 2, 3], {3: 2, 9: 2}, shuffle=False))
    assert [[1, 3], [4], [0, 2]] == batches


@pytest.mark.parametrize("lengths", [torch.tensor([3, 9]), (number for number in (3, 9)), [3.0, 9]])
def test_lengths_may_be_a_tensor_or_a_stream_of_numbers(lengths: Any) -> None:
    """Whatever gives one number for each sample."""
    assert [[0], [1]] == list(BucketBatchSampler(lengths, {3: 1, 9: 1}, shuffle=False))


@pytest.mark.parametrize(
    ("lengths", "sizes", "message"),
    [
        (
            [1, 50, 41],
            SIZES,
            "2 samples are longer than the last edge, 40; the longest has 50 (ind",
        ),
        ([float("nan")], SIZES, "a sample is longer than the last edge, 40; the longest has nan"),
        ([1], {}, "bucket_batch_sizes is empty; a mapping of edges to batch sizes is needed"),
        ([1], {10: 0}, "bucket_batch_sizes: 0, of the bucket up to 10, is no batch size; a whole"),
        ([1], {"10": 2}, "bucket_batch_sizes: '10' is no edge; a number above 0 is"),
    ],
)
def test_what_makes_no_batch_is_an_error(lengths: Any, sizes: Any, message: str) -> None:
    """The message has the value, and what is needed."""
    with pytest.raises(HarnessError) as caught:
        BucketBatchSampler(lengths, sizes)
    assert str(caught.value).startswith(message)


def test_a_rank_beyond_the_replicas_is_an_error() -> None:
    """Ranks begin with 0."""
    with pytest.raises(HarnessError, match="rank 2 of num_replicas 2"):
        BucketBatchSampler([1], {1: 1}, num_replicas=2, rank=2)


def test_the_sampler_needs_no_torch() -> None:
    """Importing and iterating it imports none."""
    code = (
        "import sys, harness\n"
        "assert list(harness.BucketBatchSampler([1], {1: 1})) == [[0]]\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


class Net(pl.LightningModule):
    """Notes the length of each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: list[tuple[int, ...]] = []

    def training_step(self, batches: list[torch.Tensor], _: int) -> torch.Tensor:
        """Train on the indices."""
        (batch,) = batches
        self.seen.append(tuple(batch.flatten().int().tolist()))
        loss: torch.Tensor = self.layer(batch).square().mean()
        return loss

    def configure_optimizers(self) -> Any:
        """Return an optimizer that changes little."""
        return torch.optim.SGD(self.parameters(), lr=1e-6)


@pytest.mark.filterwarnings("ignore")  # Lightning's: few workers
def test_lightning_trains_on_it_and_tells_the_epoch() -> None:
    """Both epochs have all samples, in different batches."""
    indices = torch.arange(101.0)[:, None]
    sampler = BucketBatchSampler(LENGTHS, SIZES)
    data = torch.utils.data.TensorDataset(indices)
    loader = torch.utils.data.DataLoader(data, batch_sampler=sampler)
    net = Net()
    pl.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(net, loader)
    first, second = net.seen[: len(sampler)], net.seen[len(sampler) :]
    assert list(range(101)) == sorted(index for batch in first for index in batch)
    assert list(range(101)) == sorted(index for batch in second for index in batch)
    assert first != second
