"""Loaders whose full batches come without end."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, get_worker_info

from harness.errors import HarnessError, NoFullBatchError
from harness.loaders.batch_counts import WrongBatchSizeError
from harness.loaders.counted_batches import CountedBatches
from harness.loaders.full_batches import FullBatches, WorstCaseBatches, full_batches

if TYPE_CHECKING:
    from collections.abc import Iterator


def batches(*sizes: int) -> list[torch.Tensor]:
    """Make a loader with batches of these sizes."""
    return [torch.zeros(size, 2) for size in sizes]


def sizes(loader: Any, number: int = 4) -> list[int]:
    """Return the sizes of a loader's first batches."""
    return [len(batch) for batch in islice(loader, number)]


class Stream(IterableDataset[int]):
    """Whole numbers; each worker has its own part of them."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __iter__(self) -> Iterator[int]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        yield from range(first, self.number, step)


class Moving(DataLoader[Any]):
    """A loader that changes each batch on its way, as accelerate's does."""

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            yield {"x": batch}


class Refuses:
    """Says that the loader ignores the size, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, found: int) -> None:
        """Raise."""
        self.asked.append(found)
        raise WrongBatchSizeError(f"always {found}")


def numbers(number: int) -> Any:
    """Return a data set of whole numbers."""
    return range(number)


def time_first(items: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Collate to four time steps of each item."""
    return torch.zeros(4, len(items)), torch.tensor(items)


@pytest.mark.parametrize(
    "passed",
    [(4, 4, 3), (4, 3, 4), (3, 4, 4), (4, 3, 4, 2)],
    ids=["at the end", "in the middle", "at the start", "several"],
)
def test_smaller_batches_are_left_out_wherever_they_come(passed: tuple[int, ...]) -> None:
    """Two passes over two full batches and smaller ones give four full batches."""
    assert [4, 4, 4, 4] == sizes(FullBatches(batches(*passed), 4))


@pytest.mark.parametrize("passed", [(3,), (), (3, 3, 2)])
def test_no_full_batch_in_a_pass_is_told(passed: tuple[int, ...]) -> None:
    """A pass without a full batch raises NoFullBatchError with the size."""
    with pytest.raises(NoFullBatchError, match="no full batch of 4"):
        next(iter(FullBatches(batches(*passed), 4)))


def test_larger_batch_is_refused() -> None:
    """A batch that is larger than asked for shows that the loader ignores the size."""
    with pytest.raises(
        WrongBatchSizeError,
        match=r"a batch of 5 samples when the batch size was set to 4: .*`count_samples\(batch\)`",
    ):
        next(iter(FullBatches(batches(5), 4)))


def test_loader_that_states_another_size_is_refused_at_once() -> None:
    """A loader of 16 where 64 is asked for is no data set that is too small."""
    loader = DataLoader(numbers(100), batch_size=16)
    with pytest.raises(WrongBatchSizeError, match=r"a batch of 16 samples .* set to 64"):
        next(iter(FullBatches(loader, 64)))


@pytest.mark.parametrize("number", [2, 64, 100])
def test_passes_of_smaller_batches_raise_a_doubt_once(number: int) -> None:
    """Two or more batches that are all smaller may come from a loader that ignores the size."""
    doubt = Refuses()
    with pytest.raises(WrongBatchSizeError, match="always 16"):
        next(iter(FullBatches(batches(*[16] * number), 64, require_obedience=doubt)))
    assert [16] == doubt.asked


def test_single_smaller_batch_raises_no_doubt() -> None:
    """One batch of 16 is a data set of 16."""
    with pytest.raises(NoFullBatchError):
        next(iter(FullBatches(batches(16), 64, require_obedience=Refuses())))


def test_stream_without_end_and_without_a_full_batch_is_given_up() -> None:
    """A stream of smaller batches without end holds no full one."""

    def stream() -> Iterator[torch.Tensor]:
        while True:
            yield torch.zeros(3)

    with pytest.raises(NoFullBatchError):
        next(iter(FullBatches(stream(), 4)))


def test_workers_of_a_stream_each_end_with_a_smaller_batch() -> None:
    """Two workers with five numbers each give one full batch of four each, in every pass."""
    loader = DataLoader(Stream(10), batch_size=4, num_workers=2)
    found = [sorted(batch.tolist()) for batch in islice(FullBatches(loader, 4), 4)]
    assert [[0, 2, 4, 6], [1, 3, 5, 7]] * 2 == found


@pytest.mark.parametrize("num_workers", [0, 2])
def test_items_are_counted_whatever_is_collated(num_workers: int) -> None:
    """Batches of four time steps are counted by their items, in workers, too."""
    loader = DataLoader(numbers(10), batch_size=4, num_workers=num_workers, collate_fn=time_first)
    found = [len(batch[1]) for batch in islice(FullBatches(loader, 4), 4)]
    assert [4, 4, 4, 4] == found


def test_items_of_a_batch_sampler_are_counted() -> None:
    """Each of two buckets ends with a smaller batch, of four time steps, which is left out."""
    buckets = [*BatchSampler(range(6), 4, False), *BatchSampler(range(6, 11), 4, False)]
    loader = DataLoader(numbers(11), batch_sampler=buckets, collate_fn=time_first)
    found = [batch[1].tolist() for batch in islice(FullBatches(loader, 4), 3)]
    assert [[0, 1, 2, 3], [6, 7, 8, 9], [0, 1, 2, 3]] == found


def test_loader_with_its_own_iteration_gives_what_it_gives() -> None:
    """A loader that changes its batches does so here, and only the last one is left out."""
    loader = Moving(numbers(10), batch_size=4, collate_fn=time_first)
    found = [len(batch["x"][1]) for batch in islice(FullBatches(loader, 4), 4)]
    assert [4, 4, 4, 4] == found


def test_persistent_workers_are_kept_and_the_users_own_are_not_touched() -> None:
    """Passes share their workers, and the user's own pass over the loader gives plain batches."""
    loader = DataLoader(numbers(8), batch_size=4, num_workers=1, persistent_workers=True)
    counted = CountedBatches(loader)
    assert [(4, 4), (4, 4)] == [(items, len(batch)) for items, batch in counted]
    first = counted._copy._iterator
    list(counted)
    assert counted._copy._iterator is first
    assert [[0, 1, 2, 3], [4, 5, 6, 7]] == [batch.tolist() for batch in loader]


def test_samplers_first_indices_are_made_in_the_block() -> None:
    """The block is entered once, for the first pass."""
    entered = []

    @contextmanager
    def block() -> Iterator[None]:
        entered.append("begin")
        yield
        entered.append("end")

    counted = CountedBatches(DataLoader(numbers(4), batch_size=2), block)
    for _ in range(2):
        list(counted)
    assert ["begin", "end"] == entered


def test_order_of_shuffled_data_is_that_of_the_users_loader() -> None:
    """The same seed gives the same batches as the loader itself gives."""
    loader = DataLoader(numbers(50), batch_size=5, shuffle=True)
    torch.manual_seed(1)
    own = [batch.tolist() for batch in loader]
    torch.manual_seed(1)
    assert own == [batch.tolist() for batch in islice(FullBatches(loader, 5), 10)]


def test_generator_is_made_again() -> None:
    """A loader that is used up after one pass is replaced by what the hook gives next."""
    loader = FullBatches(iter(batches(4, 4)), 4, renew=lambda: iter(batches(4)))
    assert [4, 4, 4] == sizes(loader, 3)


@pytest.mark.parametrize("again", [None, lambda: iter([])], ids=["no hook", "used up again"])
def test_loader_that_is_used_up_for_good_is_no_small_data_set(again: Any) -> None:
    """What had full batches and has none left is told apart from data that are too small."""
    with pytest.raises(HarnessError, match="can be iterated only once"):
        sizes(FullBatches(iter(batches(4)), 4, renew=again), 2)


def test_sized_loader_stays_sized_and_unsized_one_unsized() -> None:
    """A loader keeps its length or its lack of one, by which Lightning fetches batches ahead."""
    assert hasattr(full_batches(batches(2), 2), "__len__")
    assert not hasattr(full_batches(iter(batches(2)), 2), "__len__")


@pytest.mark.parametrize(
    "batch",
    [
        (torch.zeros(12, 4), torch.zeros(4)),
        torch.zeros(8),
        {"flat": torch.zeros(29), "offsets": torch.zeros(5)},
    ],
    ids=["time first", "crops", "concatenated"],
)
def test_worst_case_batch_is_believed(batch: Any) -> None:
    """A batch that may hold four samples is believed to."""
    assert batch is next(iter(WorstCaseBatches(lambda _: batch, 4)))


@pytest.mark.parametrize(
    "batch", [torch.zeros(3, 2), (torch.zeros(5), torch.zeros(5))], ids=["fewer", "more"]
)
def test_worst_case_batch_that_plainly_has_another_size_is_refused(batch: Any) -> None:
    """A batch whose tensors all have another first dimension is refused."""
    with pytest.raises(WrongBatchSizeError, match=r"worst_case_batch\(4\) gave \d samples"):
        next(iter(WorstCaseBatches(lambda _: batch, 4)))
