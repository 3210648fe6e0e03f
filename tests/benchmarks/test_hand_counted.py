"""The models of `benchmarks/live_bytes.py`, as they are counted by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from hand_counted import bert, gpt2, llama, t5
from hand_counted.ledger import PRECISIONS
from hand_counted.shared_terms import Texts, optimizer_step
from hand_counted.train_text import MODELS

COUNTS = {"gpt2": gpt2, "bert": bert, "llama": llama, "t5": t5}


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_are_those_of_the_model(name: str) -> None:
    """What shapes say by hand is what transformers makes."""
    kind, model_class, settings = MODELS[name]
    with torch.device("meta"):
        model = getattr(transformers, model_class)(getattr(transformers, kind)(**settings))
    assert COUNTS[name].PARAMETERS == sum(one.numel() for one in model.parameters())


@pytest.mark.parametrize("name", COUNTS)
def test_terms_of_tokens_grow_with_the_batch(name: str) -> None:
    """State does not depend on the batch, all other terms are multiples of it."""
    counts: Any = COUNTS[name]
    one, three = (counts.live(Texts(batch, 64), PRECISIONS["32-true"]).terms for batch in (1, 3))
    fixed = {"parameters", "AdamW's moments", "cuBLAS's workspaces"}
    if name == "t5":  # by positions alone
        fixed |= {"position buckets", "position biases", "causal masks"}
    assert fixed == {what for what in one if one[what] == three[what]}
    assert [3 * one[what] for what in one if what not in fixed] == [
        three[what] for what in three if what not in fixed
    ]


def test_optimizer_holds_five_times_the_parameters() -> None:
    """Weights, gradients, two moments, and the square roots of the second, beside workspaces."""
    small, large = (optimizer_step(number, PRECISIONS["bf16-true"]) for number in (1000, 3000))
    assert 5 * 2 * 2000 == large - small
