"""Synthetic data sets: real shapes, repeatable noise."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch

from harness.synthetic import SyntheticImages, SyntheticTokens


def test_synthetic_images_have_the_shape_asked_for() -> None:
    """Images are float32 [channels, resolution, resolution], with classes below `num_classes`."""
    data = SyntheticImages(8, num_classes=3, channels=1, num_samples=7)
    assert ((1, 8, 8), torch.float32) == (tuple(data[0][0].shape), data[0][0].dtype)
    assert ([0, 1, 2, 0, 1, 2, 0], 7) == ([data[index][1] for index in range(7)], len(data))


def test_synthetic_tokens_have_the_length_asked_for() -> None:
    """Tokens are int64 ids below the vocabulary's size, and labels are a copy of them."""
    sample = SyntheticTokens(5, vocab_size=2)[3]
    assert ((5,), torch.int64) == (tuple(sample["input_ids"].shape), sample["input_ids"].dtype)
    assert int(sample["input_ids"].max()) < 2
    assert torch.equal(sample["input_ids"], sample["labels"])
    assert sample["input_ids"].data_ptr() != sample["labels"].data_ptr()


@pytest.mark.parametrize(
    "data", [SyntheticImages(4), SyntheticTokens(16, 1000)], ids=["images", "tokens"]
)
def test_synthetic_samples_depend_on_their_index_alone(data: Any) -> None:
    """A sample depends on its index alone, also after pickling, and uses no random state."""

    def content(source: Any, index: int) -> list[float]:
        sample = source[index]
        tensor: torch.Tensor = sample["input_ids"] if isinstance(sample, dict) else sample[0]
        return tensor.flatten().tolist()

    before = torch.random.get_rng_state()
    copy = pickle.loads(pickle.dumps(data))  # noqa: S301 - its own pickle
    assert content(data, 5) == content(data, 5) == content(copy, 5)
    assert content(data, 5) != content(data, 6)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    "data", [SyntheticImages(4, num_samples=3), SyntheticTokens(4, 9, num_samples=3)]
)
@pytest.mark.parametrize("index", [3, -1])
def test_synthetic_data_end(data: Any, index: int) -> None:
    """An index beyond either end raises IndexError, so that a plain loop over the data ends."""
    with pytest.raises(IndexError):
        data[index]
