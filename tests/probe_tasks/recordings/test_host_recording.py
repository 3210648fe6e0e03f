"""What holds the memory of a training on the CPU, beside what is counted by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from host_holders import by_module, hold
from memory_zoo import HIDDEN, OUT, WIDTH

if TYPE_CHECKING:
    from pathlib import Path

# Lightning warns about few workers and short loaders, which these tests have on purpose.
pytestmark = pytest.mark.filterwarnings("ignore")

FLOAT = 4
PARAMETERS = WIDTH * HIDDEN + HIDDEN + HIDDEN * OUT + OUT
BATCH = 32


def test_bytes_of_a_network_are_those_that_are_counted_by_hand(tmp_path: Path) -> None:
    """The peak is in the backward pass of the second step, where the nonlinearity has its turn.

    Adam has two moments and a counter for each of four tensors. The last layer has its gradient by
    then, and the first has none.
    """
    held = hold(tmp_path, "memory_zoo.Mlp", BATCH)
    assert {
        "parameter": FLOAT * PARAMETERS,
        "optimizer": 2 * FLOAT * PARAMETERS + 4 * FLOAT,
        "gradient": FLOAT * (HIDDEN * OUT + OUT),
        "input": FLOAT * BATCH * WIDTH,
        "activation of act": FLOAT * BATCH * HIDDEN,
        "activation gradient of last": FLOAT * BATCH * HIDDEN,
        "activation gradient of act": FLOAT * BATCH * HIDDEN,
    } == {name: size for name, size in held.by_name().items() if name != LOSS}
    assert "step 2 backward" == held.phase
    assert held.peak_bytes == sum(holder.num_bytes for holder in held.holders)


LOSS = "activation of the training step"
"""The loss, and two numbers beside it."""


def test_smaller_batch_is_trained_as_well(tmp_path: Path) -> None:
    """What belongs to samples is half as large with half of the batch."""
    whole, half = (
        by_module(hold(tmp_path, "memory_zoo.Mlp", size), "activation") for size in (BATCH, 16)
    )
    assert whole["act"] == 2 * half["act"]
