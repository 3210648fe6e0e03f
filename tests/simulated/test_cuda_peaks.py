"""Peaks of torch's allocator on a simulated GPU, where the harness relies on them.

benchmarks/CUDA.md lists the statements by their numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

TRAINING = """
nn = torch.nn
def training(make, precision):
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(16 * 28 * 28, 10)).cuda()
    optimizer, scaler = make(model.parameters()), torch.amp.GradScaler(enabled=precision is torch.float16)
    def step():
        x = torch.rand(256, 3, 32, 32, device='cuda'); y = torch.zeros(256, dtype=torch.long, device='cuda')
        with torch.autocast('cuda', dtype=precision, enabled=precision is not None):
            loss = nn.functional.cross_entropy(model(x), y)
        scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update(); optimizer.zero_grad()
    return model, step
"""
OPTIMIZERS = """
from functools import partial
makes = {
    'SGD': partial(torch.optim.SGD, lr=0.1),
    'momentum': partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    'AdamW': torch.optim.AdamW,
    'fused AdamW': partial(torch.optim.AdamW, fused=True),
    'Adafactor': torch.optim.Adafactor,
    'RMSprop, one by one': partial(torch.optim.RMSprop, foreach=False),
}
"""
# Queries, keys and values as they come out of a projection: the heads behind the length.
ATTENTION = """
from torch.nn.attention import SDPBackend, sdpa_kernel
from harness.predict.tracing.kernel_scratch import scratch_of
q, k, v = (torch.zeros({shape}, device='cuda', dtype=torch.bfloat16).transpose(1, 2).requires_grad_() for _ in range(3))
with sdpa_kernel(SDPBackend.{kernel}_ATTENTION):
    y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
gradient = torch.zeros_like(y); torch.cuda.reset_peak_memory_stats(); before = torch.cuda.memory_allocated()
found = torch.autograd.grad(y, (q, k, v), gradient)
scratch = torch.cuda.max_memory_allocated() - before - sum(one.untyped_storage().nbytes() for one in found)
backward = torch.ops.aten._scaled_dot_product_{kernel_}_attention_backward.default
tell([scratch, scratch_of(backward, (gradient, q))[1]])
"""
CONVOLUTION = """
from harness.predict.tracing.kernel_scratch import scratch_of
form = lambda last: torch.channels_last if last else torch.contiguous_format
x = torch.zeros(8, 64, 32, 32, device='cuda').to(memory_format=form({image}))
w = torch.zeros(128, 64, 3, 3, device='cuda').to(memory_format=form({weight}))
torch.cuda.reset_peak_memory_stats(); before = torch.cuda.memory_allocated()
y = torch.nn.functional.conv2d(x, w)
scratch = torch.cuda.max_memory_allocated() - before - y.untyped_storage().nbytes()
tell([scratch, scratch_of(torch.ops.aten.convolution.default, (x, w))[1]])
"""


@pytest.mark.parametrize("precision", ["None", "torch.bfloat16", "torch.float16"])
def test_peak_stands_still_after_two_steps(worlds: Worlds, precision: str) -> None:
    """Of 11 steps none after the second needs more, whatever the optimizer is (33)."""
    told = worlds.run(
        worlds.make(),
        TRAINING + OPTIMIZERS + "for name, make in makes.items():\n"
        "    torch.cuda.empty_cache(); torch.cuda.reset_peak_memory_stats(); peaks = []\n"
        f"    model, step = training(make, {precision})\n"
        "    for _ in range(11): step(); peaks.append(torch.cuda.max_memory_reserved())\n"
        "    tell([name, len({*peaks[1:]})])",
    )
    names = ["SGD", "momentum", "AdamW", "fused AdamW", "Adafactor", "RMSprop, one by one"]
    assert [[name, 1] for name in names] == told


def test_validation_adds_what_it_needs_itself(worlds: Worlds) -> None:
    """A batch like training's adds nothing, because training's activations are gone (34)."""
    told = worlds.run(
        worlds.make(),
        TRAINING + "model, step = training(torch.optim.AdamW, None)\n"
        "step(); step(); step(); peak = torch.cuda.max_memory_reserved()\n"
        "held = torch.cuda.memory_allocated(); torch.cuda.reset_peak_memory_stats()\n"
        "with torch.no_grad(): model(torch.rand(256, 3, 32, 32, device='cuda'))\n"
        "tell(torch.cuda.max_memory_reserved() == peak)\n"
        "torch.cuda.reset_peak_memory_stats()\n"
        "with torch.no_grad(): torch.empty(3 << 30, dtype=torch.uint8, device='cuda')\n"
        "tell(torch.cuda.max_memory_allocated() - held)",
    )
    assert [True, 3 << 30] == told


@pytest.mark.parametrize("shape", ["(4, 512, 8, 64)", "(2, 1000, 4, 96)", "(64, 512, 16, 64)"])
def test_flash_attention_takes_what_a_trace_counts(worlds: Worlds, shape: str) -> None:
    """Within its backward pass, to the byte (48)."""
    ((taken, counted),) = worlds.run(
        worlds.make(), ATTENTION.format(shape=shape, kernel="FLASH", kernel_="flash")
    )
    assert counted == taken


@pytest.mark.parametrize("shape", ["(4, 512, 8, 64)", "(64, 512, 16, 64)"])
def test_efficient_attention_takes_what_a_trace_counts(worlds: Worlds, shape: str) -> None:
    """Within its backward pass, to the byte where heads have 64 features (48)."""
    ((taken, counted),) = worlds.run(
        worlds.make(), ATTENTION.format(shape=shape, kernel="EFFICIENT", kernel_="efficient")
    )
    assert counted == taken


@pytest.mark.parametrize("weight", [True, False])
@pytest.mark.parametrize("image", [True, False])
def test_convolution_copies_what_a_trace_counts(worlds: Worlds, image: bool, weight: bool) -> None:
    """Into the memory format that the other one has, to the byte (48)."""
    ((taken, counted),) = worlds.run(worlds.make(), CONVOLUTION.format(image=image, weight=weight))
    assert counted == taken
