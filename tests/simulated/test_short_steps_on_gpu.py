"""Steps of a global batch that end early take the memory of whole ones, on a simulated GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from simulated_worlds import Worlds

if TYPE_CHECKING:
    from torch_server import TorchServer

pytestmark = pytest.mark.simulated

WORKLOADS = Path(__file__).parents[1] / "workloads"
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("Transformer", {}),
    "bf16": ("Transformer", {"precision": "bf16-mixed"}),
    "fp16": ("Transformer", {"precision": "16-mixed"}),
    "clipped": ("Transformer", {"gradient_clip_val": 1.0}),
    "checkpointed": ("Checkpointed", {}),
    "tied": ("Tied", {}),
    "validation": ("Wide", {}),
    "convolutions": ("Convolutions", {}),
    "upcast": ("Upcast", {}),
}
# Each probe is a fork, as a zygote makes it.
PROBES = """
sys.path.insert(0, WORKLOADS)
os.chdir(WORKLOADS)
from harness.probe_tasks.train import train
from harness.workload.build import build
import holders_zoo

for net, trainer in CASES:
    for micro_batches in (2, None):
        request = {"task": "train", "batch_size": 16, "steps": 2, "validation_steps": 1,
                   "trainer": {**trainer, "accumulate_grad_batches": 8}, "workload": None,
                   "snapshot": None, "settle": False, "epoch_steps": 0, "history": None,
                   "validation_batch_size": None, "validation_share": 1.0,
                   "micro_batches": micro_batches,
                   "bound": {"accelerator": "cuda", "budget_bytes": None, "fraction": 0.9}}
        spec = {"module": {"class_path": "holders_zoo." + net, "init_args": {}}, "data": None,
                "loss": None, "optimizer": None, "batch_size_attr": None,
                "learning_rate_attr": None}
        sys.stdout.flush()
        if os.fork() == 0:
            tell(train(build(spec), request, lambda phase: None))
            os._exit(0)
        os.wait()
"""


@pytest.fixture(scope="module")
def found(
    torch_server: TorchServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[dict[str, Any]]]:
    """Probe each of the cases with two micro-batches a step and with eight, once for all tests."""
    worlds = Worlds(tmp_path_factory.mktemp("short"), torch_server)
    values = f"CASES = {list(CASES.values())!r}\nWORKLOADS = {str(WORKLOADS)!r}\n"
    told = [one for one in worlds.run(worlds.make(), values + PROBES) if isinstance(one, dict)]
    return {case: told[2 * at : 2 * at + 2] for at, case in enumerate(CASES)}


@pytest.mark.parametrize("case", CASES)
def test_short_steps_take_the_memory_of_whole_ones(
    found: dict[str, list[dict[str, Any]]], case: str
) -> None:
    """Two of eight micro-batches reach the peaks of all, to the byte."""
    short, whole = found[case]
    assert ["fits", "fits"] == [short["outcome"], whole["outcome"]], (short, whole)
    assert [2 * 2 * 16, 2 * 8 * 16] == [short["samples"], whole["samples"]]
    for peak in ("peak_memory_bytes", "peak_allocated_bytes"):
        assert whole[peak] == short[peak]
