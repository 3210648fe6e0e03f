"""Buckets of image sizes on a simulated GPU, where torch's own allocator keeps blocks of each."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from simulated_runs import make_project, report_of, start
from simulated_worlds import h100, inside

if TYPE_CHECKING:
    from pathlib import Path

    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

BUCKETED = """
version: 1
matrix: {model: [net], gpu: [h100-as-1GiB], resolution: [512]}
models:
  net:
    module: {class_path: net.Attention}
    loss: {class_path: net.mean_square}
    data: {class_path: net.Texts, init_args: {length: "${resolution}"}}
    buckets: {field: resolution, edges: [64, 512]}
    search: {max_batch_size: 100000, validation: false, allow_thrashing: false}
gpus:
  h100-as-1GiB: {name: NVIDIA H100*, budget: 1GiB}
lr_range: {when: never}
"""
NET = """
import torch
from torch import nn

class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.mix = nn.Embedding(100, 256), nn.Linear(256, 256)

    def forward(self, tokens):
        words = self.words(tokens)
        return self.mix((words @ words.mT).softmax(-1) @ words)

def mean_square():
    return lambda output, target: output.square().mean()

class Texts(torch.utils.data.Dataset):
    def __init__(self, length):
        self.text = torch.zeros(length, dtype=torch.long)

    def __len__(self):
        return 1 << 20

    def __getitem__(self, _):
        return self.text, 0
"""


def outcomes(case: Any, kind: str) -> dict[tuple[int, ...], str]:
    """Return how each set of batch sizes ended; a later probe of the same one counts."""
    return {
        tuple(probe["buckets"].values()): probe["outcome"]
        for probe in case["probes"]
        if probe["kind"] == kind
    }


def test_buckets_fit_in_turn_and_one_percent_more_does_not(tmp_path: Path, worlds: Worlds) -> None:
    """Each is the largest alone; in turn the allocator keeps blocks of all, so less fits."""
    environment = inside(worlds.make(h100()))
    folder = make_project(tmp_path / "project", BUCKETED, NET)
    _, output = start(folder, environment, "--gpu-profile-update", zygotes=worlds.zygotes)
    (case,) = report_of(folder)
    alone = outcomes(case, "bucket")
    (edge, largest, tuned), (last, most, batch) = (
        (bucket["edge"], bucket["max_batch_size"], bucket["batch_size"])
        for bucket in case["buckets"]
    )
    assert ("fits", "oom") == (alone[largest,], alone[largest + 1,]), output
    joint = outcomes(case, "joint")
    assert ("oom", "fits") == (joint[largest, most], joint[tuned, batch])
    fitting, failing = (
        [sizes for sizes, outcome in joint.items() if outcome == wanted]
        for wanted in ("fits", "oom")
    )
    percent = [round(100 * sizes[0] / largest) for sizes in (max(fitting), min(failing))]
    assert percent[0] + 1 == percent[1]
    lock = tomllib.loads((folder / "profiles" / "gpu-profile.lock").read_text())
    assert [(edge, tuned), (last, batch)] == [
        (bucket["edge"], bucket["batch_size"]) for bucket in lock["profile"][0]["buckets"]
    ]
    assert batch == case["batch_size"] < case["max_batch_size"]


def test_buckets_are_predicted(tmp_path: Path, worlds: Worlds) -> None:
    """At sizes that are safe before any measurement, and seen to train in turn."""
    environment = inside(worlds.make(h100()))
    folder = make_project(tmp_path / "project", BUCKETED, NET)
    _, output = start(folder, environment, "--gpu-profile-predict", zygotes=worlds.zygotes)
    (case,) = report_of(folder)
    sizes = tuple(bucket["batch_size"] for bucket in case["buckets"])
    joint = outcomes(case, "joint")
    assert "fits" == joint.get(sizes), output
    safe = tuple(int(0.9 * bucket["max_batch_size"]) for bucket in case["buckets"])
    assert (safe, True) == (next(iter(joint)), all(map(int.__le__, sizes, safe)))
    assert (sizes[-1], "predicted") == (case["batch_size"], case["source"])
