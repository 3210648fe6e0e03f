"""What holds the memory at the peak, from the allocator's history, on a simulated GPU."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
from held_memory import BATCH, Held, line_of, probe
from simulated_worlds import Worlds

if TYPE_CHECKING:
    from torch_server import TorchServer

pytestmark = pytest.mark.simulated

FLOAT, WIDTH, LENGTH = 4, 128, 32
HIDDEN = BATCH * LENGTH * WIDTH * FLOAT
ATTENTION, GELU = "self.attention(normed", "gelu(hidden))"


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("Transformer", {}),
    "bf16": ("Transformer", {"precision": "bf16-mixed"}),
    "fp16": ("Transformer", {"precision": "16-mixed"}),
    "accumulated": ("Transformer", {"accumulate_grad_batches": 3, "gradient_clip_val": 1.0}),
    "checkpointed": ("Checkpointed", {}),
    "checkpointed bf16": ("Checkpointed", {"precision": "bf16-mixed"}),
    "reentrant": ("Reentrant", {}),
    "function": ("CheckpointedFunction", {}),
    "tied": ("Tied", {}),
    "nested": ("Nested", {}),
    "encoder": ("Encoder", {}),
    "validation": ("Wide", {}),
    "convolutions": ("Convolutions", {}),
    "adversaries": ("Adversaries", {}),
    "custom": ("Custom", {}),
    "kept": ("Kept", {}),
    "upcast": ("Upcast", {}),
    "failing": ("Failing", {}),
}


@pytest.fixture(scope="module")
def held(torch_server: TorchServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Held]:
    """Probe each of the cases, once for all tests."""
    worlds = Worlds(tmp_path_factory.mktemp("held"), torch_server)
    return dict(zip(CASES, probe(worlds, *CASES.values()), strict=True))


@pytest.mark.parametrize("case", [case for case in CASES if case != "failing"])
def test_finding_the_holders_changes_no_peak(held: dict[str, Held], case: str) -> None:
    """The peaks are the same to the byte with hooks and without, and the holders are all of it."""
    one = held[case]
    assert ["fits", "fits"] == [one.alone["outcome"], one.result["outcome"]], one
    for peak in ("peak_memory_bytes", "peak_allocated_bytes"):
        assert one.alone[peak] == one.result[peak]
    assert one.holders.peak_bytes == sum(holder.num_bytes for holder in one.holders.holders)


def test_kinds_are_those_of_a_training(held: dict[str, Held]) -> None:
    """Each parameter has a gradient and two moments; inputs are tokens; cuBLAS has workspaces."""
    kinds = held["plain"].holders.by_kind()
    per_block = 12 * WIDTH**2 + 13 * WIDTH
    parameters = FLOAT * (3 * per_block + 2 * 100 * WIDTH + 100)
    assert [parameters, parameters] == [kinds["parameter"], kinds["gradient"]]
    num_parameters = 3 * 12 + 3
    assert 2 * parameters + FLOAT * num_parameters >= kinds["optimizer"] >= 2 * parameters
    assert BATCH * LENGTH * 8 == kinds["input"]
    assert 0 < kinds["workspace"]


def test_tied_weights_count_once(held: dict[str, Held]) -> None:
    """The embedding's weights, and so their gradient, are one block."""
    plain, tied = (held[case].holders.by_kind() for case in ("plain", "tied"))
    for kind in ("parameter", "gradient"):
        assert FLOAT * 100 * WIDTH == plain[kind] - tied[kind]


def test_activations_belong_to_a_module_and_a_line(held: dict[str, Held]) -> None:
    """Attention holds six hidden states per block, and the wide layers four of each width."""
    found = {
        (str(holder), holder.line): holder.num_bytes for holder in held["plain"].holders.holders
    }
    for block in range(3):
        module = f"activation of blocks.{block}"
        assert (
            4 * HIDDEN == found[f"{module}.feed_forward.up", line_of("hidden = self.up(inputs)\n")]
        )
        assert 4 * HIDDEN == found[f"{module}.feed_forward", line_of(GELU)]
        assert 5 * HIDDEN <= found[f"{module}.attention", line_of(ATTENTION)] <= 7 * HIDDEN


def test_weights_cast_by_autocast_belong_to_their_module(held: dict[str, Held]) -> None:
    """Copies of the weights and of the input lie in bfloat16 beside the layer's result."""
    found = held["bf16"].holders
    up = sum(one.num_bytes for one in found.holders if one.module == "blocks.0.feed_forward.up")
    assert (4 * HIDDEN + HIDDEN) // 2 + 2 * 4 * WIDTH**2 == up


@pytest.mark.parametrize("case", ["checkpointed", "reentrant"])
def test_what_is_computed_again_belongs_to_its_module(held: dict[str, Held], case: str) -> None:
    """In the backward pass one block is there, with its lines, and only what leads to others."""
    found = held[case].holders
    assert "step 2 backward" == found.phase
    inside = {
        holder.module.split(".")[1]
        for holder in found.holders
        if holder.kind == "activation" and ".feed_forward" in holder.module
    }
    assert 1 == len(inside)
    lines = {one.line for one in found.holders if one.module.endswith("feed_forward")}
    assert line_of(GELU) in lines


@pytest.mark.parametrize(
    ("before", "after", "module", "text"),
    [
        ("plain", "kept", "blocks.1.feed_forward.up", "hidden = self.up(inputs)\n"),
        ("plain", "upcast", "blocks.2.feed_forward", "gelu(hidden).float()"),
        # The peak of the former has block 0, which is computed again then.
        ("checkpointed", "plain", "blocks.1.attention", ATTENTION),
    ],
)
def test_regression_is_the_holder_that_grew_most(
    held: dict[str, Held], before: str, after: str, module: str, text: str
) -> None:
    """An activation that is kept, a wider type, no checkpointing: each names module and line."""
    sizes: list[dict[tuple[str, str, str], int]] = [
        {(one.kind, one.module, one.line): one.num_bytes for one in held[case].holders.holders}
        for case in (before, after)
    ]
    grown = {place: size - sizes[0].get(place, 0) for place, size in sizes[1].items()}
    assert ("activation", module, line_of(text)) == max(grown, key=lambda place: grown[place])


def test_backward_pass_belongs_to_the_module_and_line_of_its_forward_pass(
    held: dict[str, Held],
) -> None:
    """Gradients of activations name the layer whose backward pass runs."""
    found = held["accumulated"].holders
    assert "step 2 backward" == found.phase
    flowing = {(one.module, one.line) for one in found.holders if one.kind == "activation gradient"}
    assert flowing <= {
        ("head", line_of("self.head(hidden)")),
        ("the training step", line_of("nn.functional.cross_entropy(")),
        ("blocks.2.feed_forward.down", line_of(GELU)),
        ("blocks.2.feed_forward", line_of(GELU)),
        ("blocks.2", line_of("inputs + self.feed_forward")),
    }
    assert flowing


def test_backward_pass_in_python_has_its_own_line(held: dict[str, Held]) -> None:
    """A function of the user's names the line of its backward pass."""
    found = held["custom"].holders
    largest = next(one for one in found.holders if one.kind == "activation gradient")
    assert ("the training step", line_of("wasted = ")) == (largest.module, largest.line)


def test_optimizers_that_are_stepped_by_hand_are_known(held: dict[str, Held]) -> None:
    """Two moments of one network and one of the other are the optimizers', past Lightning, too."""
    live = held["adversaries"].holders.timeline.live
    assert 3 * live["parameter"][-1] == 2 * live["optimizer"][-1]


def test_peak_in_validation_is_told(held: dict[str, Held]) -> None:
    """A longer batch in the validation has the peak."""
    assert "validation" == held["validation"].holders.phase


def test_modules_of_a_nested_module_have_the_whole_name(held: dict[str, Held]) -> None:
    """The name leads from the user's module to the layer."""
    names = {one.module for one in held["nested"].holders.holders}
    assert "inner.blocks.0.attention" in names
    assert "blocks.0.attention" not in names


def test_timeline_is_of_the_second_step(held: dict[str, Held]) -> None:
    """It has the step's phases; the state stays, and no activation is left at its end."""
    found = held["plain"].holders
    assert ["forward", "backward", "optimizer"] == [phase for _, phase in found.timeline.phases]
    live = found.timeline.live
    kinds = found.by_kind()
    assert {kinds["parameter"]} == {*live["parameter"]}
    assert kinds["activation"] <= max(live["activation"])
    assert live["activation"][-1] < HIDDEN
    assert found.peak_bytes == max(map(sum, zip(*live.values(), strict=True)))


def test_snapshot_has_stacks(worlds: Worlds) -> None:
    """Torch's snapshot of a training that fits names the user's lines."""
    path = worlds.folder / "snapshot.pickle"
    probe(worlds, ("Transformer", {}), snapshot=path)
    snapshot = pickle.loads(path.read_bytes())  # noqa: S301 - made by this test
    (entries, *_) = snapshot["device_traces"]
    lines = {frame["name"] for entry in entries for frame in entry["frames"]}
    assert {"training_step", "_in_projection_packed"} <= lines


@pytest.mark.parametrize("settings", ["expandable_segments:True", "roundup_power2_divisions:4"])
def test_settings_of_the_allocator_change_no_holder(
    worlds: Worlds, held: dict[str, Held], settings: str
) -> None:
    """What the training asks for is the same, whatever the allocator makes of it."""
    plain = held["plain"].holders
    (other,) = probe(worlds, ("Transformer", {}), PYTORCH_CUDA_ALLOC_CONF=settings)
    assert plain == other.holders


def test_allocator_without_a_history_is_named(worlds: Worlds) -> None:
    """CUDA's own allocator keeps none, and the failure says what to do."""
    settings = "backend:cudaMallocAsync"
    (refused,) = probe(worlds, ("Transformer", {}), PYTORCH_CUDA_ALLOC_CONF=settings)
    assert "error" == refused.result["outcome"]
    assert (
        "NoHistoryError: the allocator cudaMallocAsync keeps no history, so nobody knows what "
        "holds the memory: take `backend` out of PYTORCH_CUDA_ALLOC_CONF"
    ) == refused.result["detail"]


def test_failure_of_the_training_is_the_answer(held: dict[str, Held]) -> None:
    """A batch that does not train has no holders, and the user's exception is told."""
    failing = held["failing"]
    assert ["error", "ValueError: no Block for (16, 32, 128)", False] == [
        failing.result["outcome"],
        failing.result["detail"],
        failing.path.exists(),
    ]


@pytest.mark.slow
def test_compiled_modules_are_known_as_a_whole(worlds: Worlds) -> None:
    """A wrapped module and one that compiles itself hold what is in them."""
    _, compiled = probe(worlds, ("Compiled", {}), ("Compiled", {}), TORCHDYNAMO_VERBOSE="0")
    # The first one compiles, and the second one finds it done: then both probes are alike.
    assert compiled.alone["peak_memory_bytes"] == compiled.result["peak_memory_bytes"]
    names = {one.module for one in compiled.holders.holders if one.kind == "activation"}
    assert {"blocks.0.feed_forward", "blocks.1", "blocks.2.feed_forward.up"} <= names
    assert set() == {"blocks.0.feed_forward.up", "blocks.1.feed_forward"} & names
