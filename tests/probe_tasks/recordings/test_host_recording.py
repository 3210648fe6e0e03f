"""What holds the memory of a training on the CPU, beside what is counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import memory_zoo
import pytest
from host_holders import by_module, hold
from memory_zoo import HIDDEN, OUT, WIDTH
from projects import workload

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


@pytest.mark.parametrize(
    ("name", "changes", "parameters", "optimizer"),
    [
        ("Frozen", {}, PARAMETERS, 2 * FLOAT * (HIDDEN * OUT + OUT) + 2 * FLOAT),
        ("Momentless", {}, PARAMETERS, 0),
        ("Fused", {}, PARAMETERS, 2 * FLOAT * PARAMETERS + 4 * FLOAT),
        ("Compiled", {}, PARAMETERS, 2 * FLOAT * PARAMETERS + 4 * FLOAT),
        ("Lazy", {}, PARAMETERS, 2 * FLOAT * PARAMETERS + 4 * FLOAT),
        # One weight and two biases, eight wide.
        ("Tied", {}, WIDTH * (WIDTH + 2), 2 * FLOAT * WIDTH * (WIDTH + 2) + 3 * FLOAT),
        # A byte for each of the frozen weights.
        (
            "Quantized",
            {},
            (WIDTH * HIDDEN) // FLOAT + HIDDEN * OUT + OUT,
            2 * FLOAT * (HIDDEN * OUT + OUT) + 2 * FLOAT,
        ),
        # The optimizer has the weights themselves, whatever autocast computes in.
        (
            "Mlp",
            {"trainer": {"precision": "bf16-mixed"}},
            PARAMETERS,
            2 * FLOAT * PARAMETERS + 4 * FLOAT,
        ),
        (
            "Mlp",
            {"trainer": {"accumulate_grad_batches": 2}},
            PARAMETERS,
            2 * FLOAT * PARAMETERS + 4 * FLOAT,
        ),
    ],
)
def test_state_of_each_kind_of_training(
    tmp_path: Path, name: str, changes: dict[str, Any], parameters: int, optimizer: int
) -> None:
    """Parameters count once, and the state is there that the first step has made."""
    held = hold(tmp_path, f"memory_zoo.{name}", 256, **changes)
    kinds = held.by_kind()
    expected = (FLOAT * parameters, optimizer, FLOAT * 256 * WIDTH)
    assert expected == (kinds["parameter"], kinds["optimizer"], kinds["input"])
    assert held.peak_bytes == kinds.total()
    assert min(kinds.values()) >= 0


def test_frozen_layers_keep_nothing_for_a_backward_pass(tmp_path: Path) -> None:
    """The peak is then in the forward pass, and the only gradient is the last layer's."""
    held = hold(tmp_path, "memory_zoo.Frozen", BATCH)
    assert ("step 2 forward", FLOAT * (HIDDEN * OUT + OUT)) == (
        held.phase,
        held.by_kind()["gradient"],
    )


def test_accumulated_gradients_are_all_there(tmp_path: Path) -> None:
    """The second batch of a step runs beside the gradients of the first."""
    held = hold(tmp_path, "memory_zoo.Mlp", BATCH, trainer={"accumulate_grad_batches": 2})
    assert FLOAT * PARAMETERS == held.by_kind()["gradient"]


def test_checkpointed_part_is_there_again_in_the_backward_pass(tmp_path: Path) -> None:
    """What is computed again is of the modules that compute it."""
    held = hold(tmp_path, "memory_zoo.Checkpointed", BATCH)
    wide = FLOAT * BATCH * HIDDEN
    again = by_module(held, "activation")
    assert (wide, wide) == (again["first"], again["act"])


def test_what_an_operator_frees_again_is_a_workspace(tmp_path: Path) -> None:
    """The scratch memory of a convolution's backward pass is no activation."""
    held = hold(tmp_path, "memory_zoo.Convolution", BATCH)
    assert FLOAT * (9 * OUT + OUT) == held.by_kind()["parameter"]
    assert FLOAT * BATCH * 36 == held.by_kind()["input"]
    assert by_module(held, "workspace")["first"] > FLOAT * BATCH * OUT * 16


def test_lines_are_the_users(tmp_path: Path) -> None:
    """An activation has the line whose operator has made it."""
    held = hold(tmp_path, "memory_zoo.Mlp", BATCH)
    (line,) = {one.line for one in held.holders if one.module == "act"}
    text = Path(memory_zoo.__file__).read_text(encoding="utf-8").splitlines()
    assert "self.act(self.first(inputs))" in text[int(line.rpartition(":")[2]) - 1]


def test_loop_of_the_users_own(tmp_path: Path) -> None:
    """A function that trains is followed from its first batch on."""
    spec = workload("", None)
    made = {"class_path": "loops_zoo.plain", "init_args": {}}
    held = hold(tmp_path, "", 8, spec=spec | {"module": None, "training": made})
    kinds = held.by_kind()
    assert held.peak_bytes == kinds.total()
    assert kinds["parameter"] > 0
    assert kinds["input"] > 0
