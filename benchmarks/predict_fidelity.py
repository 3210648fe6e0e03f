"""Compares traces with real trainings on the CPU, with MemTracker, and with each other.

    python benchmarks/predict_fidelity.py [--json benchmarks/results/predict_fidelity.json]

Each workload trains two steps and validates a batch in float32, once for real and once with fake
tensors, which have no memory. The same recorder of storages watches both. Both use the CPU's own
operators; oneDNN is off, because fake tensors do not support its recurrent layers. MemTracker
(torch.distributed._tools) watches the fake training beside the recorder. Each trace is taken
--repeats times, and its events must be the same each time. The exit code is 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from exactness_cases import CASES, digits, spec
from tabulate import tabulate
from torch.distributed._tools.mem_tracker import MemTracker

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))  # for the reference workloads

from harness.predict.tracing.task import Tracer
from harness.workload import build as workloads

if TYPE_CHECKING:
    from harness.predict.trace import Trace
    from harness.protocol import WorkloadSpec

BATCH_SIZE = 16
PEAK_BAR = 0.01
IMAGES = (
    "harness.workload.SyntheticImages",
    {"resolution": 16, "num_classes": 10, "num_samples": 64},
)
ROWS = ("profiles.workloads.Digits", {"resolution": 32})
TOKENS = ("harness.workload.SyntheticTokens", {"length": 32, "vocab_size": 128, "num_samples": 64})
BERT = {
    "vocab_size": 128,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
}
WORKLOADS: dict[str, WorkloadSpec] = {
    "alexnet-32": digits("alexnet", 32),
    "resnet-16": digits("resnet", 16),
    "resnet-32": digits("resnet", 32),
    "vit-16": digits("vit", 16),
    "vit-32": digits("vit", 32),
    "mlp-16": CASES["mlp-16"][0],
    "dropout": spec("workloads.DropoutMlp", {"resolution": 16}, *IMAGES),
    "checkpointing": spec("workloads.CheckpointedMlp", {"resolution": 16}, *IMAGES),
    "lstm-32": spec("workloads.RowLstm", {"side": 32}, *ROWS),
    "gru-32": spec("workloads.RowGru", {"side": 32}, *ROWS),
    "gpt2-32": CASES["gpt2-32"][0],
    "bert-32": spec(
        "transformers.BertForMaskedLM",
        {"config": {"class_path": "transformers.BertConfig", "init_args": BERT}},
        *TOKENS,
    ),
    "channels-last": spec("workloads.ChannelsLastCnn", {}, *IMAGES),
    "accumulation": digits("resnet", 16),
    "clipped-norm": digits("vit", 16),
    "clipped-values": CASES["mlp-16"][0],
}
# The Trainer's settings of some workloads.
SETTINGS: dict[str, dict[str, Any]] = {
    "accumulation": {"accumulate_grad_batches": 2},
    "clipped-norm": {"gradient_clip_val": 1.0},
    "clipped-values": {"gradient_clip_val": 0.5, "gradient_clip_algorithm": "value"},
}


class WatchedTracer(Tracer):
    """Traces with MemTracker beside the recorder."""

    def __init__(self, workload: workloads.Workload, batch_size: int) -> None:
        super().__init__(workload, batch_size)
        self.tracker = MemTracker()

    def _move_module(self) -> None:
        super()._move_module()
        self.tracker.track_external(self.workload.module)
        self._modes.enter_context(self.tracker)

    def _move_tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        self.tracker.reset_mod_stats()  # a step begins, and it counts each module only once
        return super()._move_tensor(tensor)

    @property
    def peak_bytes(self) -> int:
        """The peak that MemTracker saw."""
        (snapshot,) = self.tracker.get_tracker_snapshot("peak").values()
        return int(snapshot["Total"])


@dataclass(frozen=True)
class Row:
    """One workload; peaks in bytes of live storages."""

    workload: str
    real: int
    fake: int
    recorded: int
    """The fake peak, with the numbers that optimizers keep on the CPU."""
    tracked: int
    """The peak by MemTracker, in the same training as `recorded`."""
    repeats: bool
    """Whether all traces had the same events and sizes."""
    seconds: float
    """The time of one trace, without building the workload."""

    @property
    def off(self) -> float:
        """The difference between the fake peak and the real one, as a share of the real one."""
        return abs(self.fake / self.real - 1)


def measure(name: str, repeats: int) -> Row:
    """Take all traces of one workload."""

    def run(tracer: Tracer) -> Trace:
        try:
            return tracer.run(SETTINGS.get(name, {}), validation_steps=1)
        finally:
            tracer.recorder.close()

    workload = WORKLOADS[name]
    real = run(Tracer(workloads.build(workload), BATCH_SIZE, fake=False))
    traces, seconds = [], []
    for _ in range(repeats):
        tracer = Tracer(workloads.build(workload), BATCH_SIZE)
        started = time.perf_counter()
        traces.append(run(tracer))
        seconds.append(time.perf_counter() - started)
    watched = WatchedTracer(workloads.build(workload), BATCH_SIZE)
    watched.recorder.skipped = ()  # MemTracker also counts the numbers that stay on the CPU
    recorded = run(watched)
    return Row(
        name,
        real.peak_bytes,
        traces[0].peak_bytes,
        recorded.peak_bytes,
        watched.peak_bytes,
        all(
            (trace.blocks, trace.events) == (traces[0].blocks, traces[0].events) for trace in traces
        ),
        round(sorted(seconds)[len(seconds) // 2], 2),
    )


def main() -> None:
    """Measure, print, and write JSON under `--json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=20, metavar="N")
    parser.add_argument("--only", nargs="*", default=list(WORKLOADS), metavar="NAME")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    # `torch.backends.mkldnn.flags` would end with its block.
    torch._C._set_mkldnn_enabled(False)  # noqa: SLF001
    rows = []
    for name in options.only:
        rows.append(measure(name, options.repeats))
        print(rows[-1], file=sys.stderr, flush=True)
    print(tabulate([asdict(row) | {"off": f"{row.off:.2%}"} for row in rows], headers="keys"))
    count = len(rows)
    bars = [
        {"what": what, "value": value, "bar": bar, "ok": value >= bar}
        for what, value, bar in (
            ("peak within 1% of a real run", sum(row.off <= PEAK_BAR for row in rows), count),
            (
                "peak equal to MemTracker's",
                sum(row.recorded == row.tracked for row in rows),
                min(count, 6),
            ),
            ("the same trace each time", sum(row.repeats for row in rows), count),
        )
    ]
    print(tabulate(bars, headers="keys"))
    if options.json is not None:
        report = {
            "command": " ".join(["python", *sys.argv]),
            "torch": version("torch"),
            "repeats": options.repeats,
            "bars": bars,
            "rows": [asdict(row) for row in rows],
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    sys.exit(int(not all(bar["ok"] for bar in bars)))


if __name__ == "__main__":
    main()
