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
