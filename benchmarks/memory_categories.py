"""Compares where the memory goes with the categories of torch's own memory profiler.

    python benchmarks/memory_categories.py [--json PATH]

The three reference networks train two steps on the CPU: once in the probe that tells where the
memory goes, once in a plain loop under `torch.profiler`, whose memory profiler sorts tensors into
categories by the flow of data. Both give the bytes at the peak. torch knows no modules, and calls
temporary what a backward pass hands on, so these kinds are compared as one. The exit code is 1
where a kind differs by more than 2% of the peak.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch.profiler._memory_profiler import (
    _CATEGORY_TO_INDEX,
    Category,
    MemoryProfileTimeline,
)

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.devices.cpu import CpuDevice
from harness.predict.holders import PeakHolders
from harness.probe_tasks.holders import holders
from harness.workload.build import build
from profiles.workloads import Digits, ImageClassifier

BAR = 0.02
CASES = (("alexnet", 16, 1009), ("resnet", 32, 30), ("vit", 16, 135))
PARAMETERS, GRADIENTS, OPTIMIZER, INPUTS, OTHERS = KINDS = (
    "parameters",
    "gradients",
    "optimizer state",
    "inputs",
    "activations and what is temporary",
)
_OURS = {
    "parameter": PARAMETERS,
    "gradient": GRADIENTS,
    "optimizer": OPTIMIZER,
    "input": INPUTS,
}
_THEIRS = {
    Category.PARAMETER: PARAMETERS,
    Category.GRADIENT: GRADIENTS,
    Category.OPTIMIZER_STATE: OPTIMIZER,
    Category.INPUT: INPUTS,
}


def ours(arch: str, resolution: int, batch_size: int, file: Path) -> dict[str, int]:
    """Return what the probe finds, in a fork, as a zygote makes it."""
    spec: Any = {
        "module": {
            "class_path": "profiles.workloads.ImageClassifier",
            "init_args": {"arch": arch, "resolution": resolution},
        },
        "data": {
            "class_path": "profiles.workloads.Digits",
            "init_args": {"resolution": resolution},
        },
        "loss": None,
        "optimizer": None,
        "batch_size_attr": None,
        "learning_rate_attr": None,
    }
    request: Any = {
        "task": "holders",
        "batch_size": batch_size,
        "steps": 2,
        "validation_steps": 0,
        "file": str(file),
        "snapshot": None,
        "micro_batches": None,
        "bound": {"accelerator": "cpu", "budget_bytes": 1 << 30},
        "trainer": {},
        "workload": None,
    }
    sys.stdout.flush()
    if not (child := os.fork()):
        holders(build(spec), request, lambda _phase: None)
        os._exit(0)
    os.waitpid(child, 0)
    found = dict.fromkeys(KINDS, 0)
    for kind, size in PeakHolders.read(file).by_kind().items():
        found[_OURS.get(kind, OTHERS)] += size
    return found


def theirs(arch: str, resolution: int, batch_size: int) -> dict[str, int]:
    """Return the categories at the peak of a plain loop."""
    torch.manual_seed(0)
    module = ImageClassifier(arch, resolution)
    data = Digits(resolution, batch_size)
    data.setup("fit")
    optimizer: Any = module.configure_optimizers()
    batch = next(iter(data.train_dataloader()))
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU],
        record_shapes=True,
        profile_memory=True,
        with_stack=True,
    ) as profiler:
        for _ in range(2):
            optimizer.zero_grad()
            module.training_step(batch, 0).backward()  # type: ignore[no-untyped-call] # untyped in torch
            optimizer.step()
            profiler.step()
    timeline: Any = MemoryProfileTimeline(profiler._memory_profile())  # noqa: SLF001 - no public way
    _, sizes = timeline._coalesce_timeline("cpu")  # noqa: SLF001 - likewise
    peak = max(sizes, key=sum)
    found = dict.fromkeys(KINDS, 0)
    # A column of zeros comes first, for a chart whose areas lie on each other.
    for category, size in zip(_CATEGORY_TO_INDEX, peak[1:], strict=True):
        found[OTHERS if category is None else _THEIRS.get(category, OTHERS)] += int(size)
    return found


def main() -> int:
    """Compare, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            probe = ours(*case, Path(folder) / "holders.json")
            loop = theirs(*case)
            peak = sum(probe.values())
            rows += [
                {
                    "case": "-".join(map(str, case)),
                    "kind": kind,
                    "probe_bytes": probe[kind],
                    "profiler_bytes": loop[kind],
                    "share": (probe[kind] - loop[kind]) / peak,
                }
                for kind in KINDS
            ]
    cells = [{**row, "share": f"{row['share']:+.2%}"} for row in rows]
    print(tabulate(cells, headers="keys"))
    if options.json:
        text = json.dumps({"torch": torch.__version__, "rows": rows}, indent=2)
        options.json.write_text(text + "\n", encoding="utf-8")
    return int(any(abs(row["share"]) > BAR for row in rows))


if __name__ == "__main__":
    # The kernels of a run: they are chosen while torch is imported.
    environment = CpuDevice(1).environment
    if any(os.environ.get(name) != value for name, value in environment.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **environment})  # noqa: S606 - itself, again
    sys.exit(main())
