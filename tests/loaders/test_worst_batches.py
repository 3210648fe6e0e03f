"""The worst batches of a loader: found by its sampler's passes, or by a pass over its batches."""

from __future__ import annotations

import itertools
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, IterableDataset

from harness.loaders import sample_sizes, worst_batches
from harness.loaders.worst_batches import find_worst

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the files with sizes from one test to the next apart."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


class Texts(Dataset[torch.Tensor]):
    """Texts of given lengths, which count how often they are loaded."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = lengths
        self.loaded = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> torch.Tensor:
        self.loaded += 1
        return torch.zeros(self.lengths[index], dtype=torch.long)


class Augmented(Texts):
    """Texts whose lengths are drawn anew each time."""

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.zeros(int(torch.randint(1, 1000, ())) + self.lengths[index])


class Stream(IterableDataset[torch.Tensor]):
    """Texts without indices."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = lengths

    def __iter__(self) -> Iterator[torch.Tensor]:
        return map(torch.zeros, self.lengths)


def padded(texts: list[torch.Tensor]) -> torch.Tensor:
    """Collate texts."""
    return pad_sequence(texts, batch_first=True)


def loader(dataset: Any, batch_size: int = 2, **more: Any) -> Any:
    """Return a loader of padded texts."""
    return DataLoader(dataset, batch_size, collate_fn=padded, **more)


def test_the_worst_come_last_and_smaller_ones_first() -> None:
    """Smaller batches of the pass, then the largest sum, then the one with the longest text."""
    found = find_worst(loader(Texts([1, 1, 9, 1, 8, 8, 3, 3])), 2, "key")
    assert found is not None
    assert [[0, 1], [6, 7], [4, 5], [2, 3]] == found.indices


def test_partial_batches_are_none_of_them() -> None:
    """The last batch of a pass is smaller, however long its text is."""
    found = find_worst(loader(Texts([1, 2, 3, 4, 100])), 2, "key")
    assert found is not None
    assert [2, 3] == found.indices[-1]


def test_a_batch_larger_than_the_data_is_not_found() -> None:
    """The probe then says itself that the data hold no full batch."""
    assert None is find_worst(loader(Texts([1, 2, 3]), 4), 4, "key")


def test_the_longest_text_of_shuffled_data_is_found() -> None:
    """It is in one batch of each pass, with whatever else was drawn."""
    texts = Texts([1] * 63 + [50])
    found = find_worst(loader(texts, 8, shuffle=True), 8, "key")
    assert found is not None
    assert 63 in found.indices[-1]
    assert found.note == (
        "trained on the worst of 800 batches of 100 passes: the largest has 100% of the padded "
        "elements, and 100% of the bytes, that 8 of the largest samples would have"
    )


def test_images_are_judged_by_the_tallest_and_the_widest() -> None:
    """A tall and a wide image make the largest padded batch, and neither is large by itself."""
    sides = [(9, 9), (9, 9), (20, 1), (1, 20), (5, 5), (5, 5)]
    images: Any = [torch.zeros(3, height, width) for height, width in sides]
    found = find_worst(DataLoader(images, 2, collate_fn=list), 2, "key")
    assert found is not None
    assert [2, 3] == found.indices[-1]


def test_each_sample_is_loaded_once_for_all_batch_sizes() -> None:
    """A few are loaded twice, to see whether their sizes are drawn; a later probe loads none."""
    texts = Texts(range(1, 65))
    find_worst(loader(texts, 4, shuffle=True), 4, "key")
    first = texts.loaded
    find_worst(loader(texts, 8, shuffle=True), 8, "key")
    assert (64 + 16, 64 + 16) == (first, texts.loaded)


def test_what_time_leaves_unknown_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is read after each of the first samples: one may take seconds."""
    monkeypatch.setattr(sample_sizes, "LOAD_SECONDS", 1e-9)
    found = find_worst(loader(Texts(range(1, 65)), 4), 4, "key")
    assert found is not None
    assert found.note is not None
    assert ", with 1 of 64 samples known:" in found.note


class Endless(torch.utils.data.Sampler[int]):
    """Draws samples without end, as samplers of detection do."""

    def __iter__(self) -> Iterator[int]:
        """Give every index again and again."""
        return itertools.cycle(range(64))


def test_a_sampler_without_end_is_walked_for_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The note says that it was no whole pass."""
    monkeypatch.setattr(worst_batches, "_PASSES_SECONDS", 0.05)
    texts = [torch.zeros(1 + index) for index in range(64)]
    endless: Any = DataLoader(texts, 4, sampler=Endless(), collate_fn=list)  # type: ignore[arg-type] # a list
    found = find_worst(endless, 4, "endless")
    assert found is not None
    assert "batches of the first part of a pass: " in str(found.note)
    assert [60, 61, 62, 63] == found.indices[-1]


def test_samples_that_change_are_judged_by_the_batches_themselves() -> None:
    """What a transform draws is not known by the index, so batches are kept as they came."""
    found = find_worst(loader(Augmented([1] * 32), 4), 4, "key")
    assert found is not None
    assert ([], "trained on the worst of the 8 batches of a pass") == (found.indices, found.note)


def test_the_batches_of_a_stream_are_kept() -> None:
    """The smallest comes first, and the largest last."""
    found = find_worst(loader(Stream([1, 1, 5, 2, 9, 1, 3, 3])), 2, "key")
    assert found is not None
    assert [(2, 1), (2, 9)] == [tuple(batch.shape) for batch in found.kept]


def test_a_kept_batch_is_given_as_a_copy() -> None:
    """A training may change its batch in place."""
    own = loader(Stream([4, 4]))
    found = find_worst(own, 2, "key")
    assert found is not None
    (given,) = list(zip(range(1), found.in_place_of(own, list, endless=True), strict=False))
    assert given[1] is not found.kept[0]


def test_an_epoch_begins_with_them_and_goes_on_with_its_own() -> None:
    """Each comes once, and the pass ends as the loader's own does."""
    own = loader(Texts([1, 1, 9, 1]))
    found = find_worst(own, 2, "key")
    assert found is not None
    mixed = found.in_place_of(own, lambda one: one, endless=False)
    widths = [batch.shape[1] for batch in mixed]
    assert ([1, 9, 1, 9], 4) == (widths, len(mixed))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=2, max_size=24),
    st.integers(1, 5),
)
def test_no_batch_of_a_pass_has_a_longer_text(lengths: list[int], batch_size: int) -> None:
    """The last of the worst batches has the longest text among all full batches."""
    own = loader(Texts(lengths), batch_size)
    found = find_worst(own, batch_size, str(lengths))
    full = [batch for batch in own if len(batch) == batch_size]
    if not full:
        assert found is None
        return
    assert found is not None
    longest = max(batch.shape[1] for batch in full)
    assert longest == max(lengths[index] for index in found.indices[-1])
