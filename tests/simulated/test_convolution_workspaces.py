"""Workspaces of convolutions on a simulated GPU: those that the cuDNN beside torch chooses.

Sizes are counted in copies of the input, which kernels of another memory format need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from simulated_worlds import CONTEXT, GIB, MIB, h100

from harness.simulated.world import SimulatedGpu

if TYPE_CHECKING:
    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

A100 = SimulatedGpu("NVIDIA A100-SXM4-40GB", 40441 * MIB, (8, 0), context_bytes=CONTEXT)
CONVOLVE = """
def scratch(channels=256, groups=1, dtype=torch.float32, form=torch.contiguous_format):
    x = torch.zeros(32, channels, 56, 56, device='cuda', dtype=dtype).to(memory_format=form)
    layer = torch.nn.Conv2d(channels, channels, 3, padding=1, groups=groups, bias=False)
    layer = layer.to('cuda', dtype).to(memory_format=form)
    before = torch.cuda.memory_allocated(); torch.cuda.reset_peak_memory_stats()
    with torch.no_grad():
        y = layer(x)
    taken = torch.cuda.max_memory_allocated() - before - y.untyped_storage().nbytes()
    return taken // x.untyped_storage().nbytes()
"""


@pytest.mark.parametrize(
    ("convolution", "copies"),
    [
        pytest.param("", 1, id="float32 has its input copied for tensor cores"),
        pytest.param("groups=256", 0, id="depthwise needs no copy"),
        pytest.param("dtype=torch.bfloat16", 2, id="bfloat16 its input and output"),
        pytest.param("dtype=torch.bfloat16, form=torch.channels_last", 0, id="channels last is it"),
    ],
)
def test_cudnn_says_the_workspace(worlds: Worlds, convolution: str, copies: int) -> None:
    """It is that of the engine that cuDNN's heuristics put first for this GPU."""
    told = worlds.run(worlds.make(A100), CONVOLVE + f"tell(scratch({convolution}))")
    assert [copies] == told


def test_engines_are_those_that_torch_allows(worlds: Worlds) -> None:
    """Without TF32 torch passes over the engines that round their inputs, by cuDNN's own notes."""
    script = CONVOLVE + "torch.backends.cudnn.allow_tf32 = False; tell(scratch())"
    assert [0] == worlds.run(worlds.make(A100), script)


def test_next_engine_is_taken_where_a_workspace_does_not_fit(worlds: Worlds) -> None:
    """Near the limit a convolution takes the first engine whose workspace can be allocated."""
    small = SimulatedGpu(A100.name, GIB, A100.capability, context_bytes=CONTEXT)
    # What is kept leaves room for the input and the output, and for no copy of the input.
    script = (
        "kept = torch.zeros(220 << 20, dtype=torch.uint8, device='cuda')\n" + CONVOLVE
    ) + "tell(scratch()); tell(torch.cuda.memory_stats()['num_ooms'] > 0)"
    assert [0, True] == worlds.run(worlds.make(small), script)


def test_set_workspace_stands_for_all_convolutions(worlds: Worlds) -> None:
    """A world may say how much each convolution asks for, whatever cuDNN would say."""
    told = worlds.run(worlds.make(h100(workspace_bytes=0)), CONVOLVE + "tell(scratch())")
    assert [0] == told


def test_world_tells_that_cudnn_answered(worlds: Worlds) -> None:
    """It tells where the cuDNN beside torch does not know devices that are not there."""
    world = worlds.make(A100)
    worlds.run(world, CONVOLVE + "tell(scratch())")
    assert world.workspaces_known
