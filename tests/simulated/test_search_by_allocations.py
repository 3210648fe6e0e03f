"""Searches on a simulated GPU: probes record their allocations, and these lead to the maximum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

SEARCH = """
import sys, tempfile
from pathlib import Path
from harness.devices.finding import find_device
from harness.matrix.case import Case
from harness.matrix.settings import BoundsSettings, GpuSettings, LrRangeSettings, SearchSettings
from harness.batch_search.training import search_training
from harness.probes.open_cases import Surroundings, open_case

def spec(class_path, **init_args):
    return {"class_path": class_path, "init_args": init_args}

workload = {
    "module": spec("torchvision.models.resnet18", num_classes=10),
    "data": spec("harness.synthetic.SyntheticImages", resolution=64, num_classes=10),
    "loss": spec("torch.nn.CrossEntropyLoss"),
    "optimizer": None, "batch_size_attr": None, "learning_rate_attr": None,
}
gpu, search = GpuSettings(name="*", budget=1 << 30), SearchSettings(**SETTINGS)
axes = {"model": "net", "gpu": "h100", "resolution": 64}
case = Case("net", axes, workload, gpu, {}, search, LrRangeSettings(), BoundsSettings())
folder = Path(tempfile.mkdtemp(dir=FOLDER))
surroundings = Surroundings(folder, folder, tuple(sys.path))
with open_case(case, find_device(gpu, 0.9), None, surroundings) as opened:
    found = search_training(opened)
tell(found.max_batch_size)
tell([[probe.batch_size, probe.outcome, bool(probe.alloc_retries)] for probe in found.probes])
tell([path.name for path in folder.rglob("histories*")])
"""


def search(worlds: Worlds, settings: dict[str, Any], **variables: str) -> tuple[int, Any, Any]:
    """Search for a ResNet-18's batch on an H100 that is emulated as one of 1 GiB."""
    script = f"SETTINGS, FOLDER = {settings!r}, {str(worlds.folder)!r}\n{SEARCH}"
    largest, probes, left = worlds.fresh(worlds.make(), script, **variables)
    return largest, probes, left


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"},
        {"PYTORCH_CUDA_ALLOC_CONF": "roundup_power2_divisions:4"},
    ],
    ids=["plain", "expandable", "rounded"],
)
def test_allocations_lead_to_the_maximum(worlds: Worlds, variables: dict[str, str]) -> None:
    """B fits and B + 1 does not, after a scout at a prime and at most six probes; no file stays."""
    largest, probes, left = search(worlds, {}, **variables)
    outcomes = {size: outcome for size, outcome, _ in probes}
    assert ["fits", "oom"] == [outcomes[largest], outcomes[largest + 1]]
    assert len(probes) <= 6, probes
    assert [] == left


def test_batch_that_thrashes_is_beyond_the_estimate(worlds: Worlds) -> None:
    """Without thrashing B is smaller, and the size above it thrashes or is out of memory."""
    largest, probes, _ = search(worlds, {"allow_thrashing": False})
    thrashes = {size: retried for size, _, retried in probes}
    assert not thrashes[largest]
    assert len(probes) <= 7, probes


def test_other_allocator_is_searched_by_peaks(worlds: Worlds) -> None:
    """CUDA's own allocator keeps no history that could be replayed, and B is found all the same."""
    largest, probes, _ = search(worlds, {}, PYTORCH_CUDA_ALLOC_CONF="backend:cudaMallocAsync")
    outcomes = {size: outcome for size, outcome, _ in probes}
    assert ["fits", "oom"] == [outcomes[largest], outcomes[largest + 1]]
