"""Predicts batches of timm's models on an RTX 3090, and compares them with the published ones.

    python benchmarks/predict_brackets.py --data timm_train_brackets.csv [--layout nhwc]
        [--every 6] [--only NAME…] [--usable GIB] [--json PATH [--resume]]

The table is that of huggingface/pytorch-image-models
(results/benchmark-train-amp-*-pt112-cu113-rtx3090.csv). Its authors tried the batches 512, 384,
256, … until one trained. A row holds that batch and the one before it, which failed; the maximum
lies between. They trained with AMP in float16, SGD with Nesterov momentum and cross-entropy, on
the part of 24 GiB that torch 1.12 left usable. Here each network trains on a simulated RTX 3090
whose allocator has that part, and the search ends where a batch fits and the next one does not. It
needs a CUDA build of torch (constraints-cuda.txt), torchvision and timm, and no GPU.

Every `--every`-th model by name is predicted, and each one of
benchmarks/data/recurrent_brackets.csv. These are all LSTM models of the published table
(huggingface/pytorch-image-models@5e7d47c), and served for nothing but this comparison. A prediction
is "over" at or above the failed batch, and "under" below the batch that trained. `safe` is what
harness/predict/safe.py makes of it. The exit code is 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuda_experiments.processes import SYS_PATH
from tabulate import tabulate

from harness.batch_search.training import search_training
from harness.errors import HarnessError
from harness.matrix.case import Case
from harness.matrix.settings import BoundsSettings, GpuSettings, LrRangeSettings, SearchSettings
from harness.predict.gpus import by_label
from harness.predict.safe import safe_batch_size
from harness.predict.simulation import Simulation
from harness.probes.open_cases import Surroundings

if TYPE_CHECKING:
    from harness.protocol.case import WorkloadSpec

GPU = by_label("RTX-3090")
# The part of 24 GiB that the context and the libraries of torch 1.12 and CUDA 11.3 left usable.
USABLE_GIB = 21.9
LADDER_TOP = 512
RECURRENT = Path(__file__).parent / "data" / "recurrent_brackets.csv"
INSIDE_BAR, OVER_BAR = 0.94, 0.02


@dataclass(frozen=True)
class Row:
    """One model."""

    model: str
    resolution: int
    fits: int
    failed: int | None
    predicted: int | None
    seconds: float
    """The time of the whole prediction."""
    probes: int = 0
    error: str = ""

    @property
    def verdict(self) -> str:
        """The place of the prediction: `under`, `inside` or `over`, or `no prediction`."""
        if self.predicted is None:
            return "no prediction"
        if self.predicted < self.fits:
            return "under"
        return "over" if self.failed is not None and self.predicted >= self.failed else "inside"

    @property
    def safe_is_over(self) -> bool:
        """Whether even the safe batch would have failed."""
        if self.predicted is None or self.failed is None:
            return False
        return safe_batch_size(self.predicted) >= self.failed


def workload(model: str, resolution: int, layout: str) -> WorkloadSpec:
    """Return the workload of timm's benchmark."""
    make = {"nchw": "workloads.timm_without_values", "nhwc": "workloads.ChannelsLastTimm"}[layout]
    return {
        "module": {"class_path": make, "init_args": {"model_name": model}},
        "data": {
            "class_path": "harness.synthetic.SyntheticImages",
            "init_args": {"resolution": resolution, "num_classes": 1000, "num_samples": LADDER_TOP},
        },
        "loss": {"class_path": "torch.nn.CrossEntropyLoss", "init_args": {}},
        "optimizer": {
            "class_path": "torch.optim.SGD",
            "init_args": {"lr": 0.001, "momentum": 0.9, "nesterov": True},
        },
        "batch_size_attr": None,
        "learning_rate_attr": None,
    }


def predict(
    simulation: Simulation, line: dict[str, str], layout: str, usable_bytes: int, folder: Path
) -> Row:
    """Search for the largest batch of one model on the simulated GPU."""
    known = (line["model"], int(line["img_size"]), int(line["fits_batch"]))
    failed = int(line["failed_batch"]) if line["failed_batch"] else None
    case = Case(
        f"{known[0]}-{known[1]}-{layout}",
        {"model": known[0], "gpu": GPU.label, "resolution": known[1]},
        workload(*known[:2], layout),
        GpuSettings(name=GPU.name),
        {"precision": "16-mixed"},
        SearchSettings(
            max_batch_size=LADDER_TOP,
            target_memory_fraction=usable_bytes / GPU.total_bytes,
            validation=False,
        ),
        LrRangeSettings(),
        BoundsSettings(),
    )
    started = time.perf_counter()
    try:
        surroundings = Surroundings(folder, folder, tuple(SYS_PATH))
        opened = simulation.open(case, GPU, None, surroundings)
        with simulation.closed_by_errors():
            found = search_training(opened.opened, None, opened.histories)
    except HarnessError as error:
        return Row(*known, failed, None, 0.0, error=str(error).splitlines()[0][:300])
    seconds = round(time.perf_counter() - started, 1)
    why = "" if found.max_batch_size else (found.probes[-1].detail or "")[:300]
    predicted = found.max_batch_size or None
    return Row(*known, failed, predicted, seconds, len(found.probes), why)


def read(path: Path, layout: str) -> list[dict[str, str]]:
    """Return the lines of a table for one layout, in the order of the models' names."""
    with path.open(encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if f"-{layout}-" in line["source file"]]
    return sorted(lines, key=lambda line: (line["model"], int(line["img_size"])))


def _shuffled(line: dict[str, str]) -> bytes:
    """Return a key that puts models of one family apart, so that a part of the rows is a sample."""
    return hashlib.sha256(line["model"].encode()).digest()


def judge(rows: list[Row]) -> list[dict[str, Any]]:
    """Return the results beside their bars."""
    count = len(rows)
    bars = (
        ("inside", sum(row.verdict == "inside" for row in rows) / count, INSIDE_BAR, 1),
        ("safe prediction over", sum(row.safe_is_over for row in rows) / count, OVER_BAR, -1),
    )
    return [
        {"what": name, "value": round(value, 3), "bar": bar, "ok": sign * value >= sign * bar}
        for name, value, bar, sign in bars
    ]


def main() -> None:
    """Predict, print, and write JSON under `--json`."""
    os.environ["TIMM_FUSED_ATTN"] = "0"  # the published runs are older than torch's fused attention
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the table of published batches")
    parser.add_argument(
        "--layout", choices=("nchw", "nhwc"), default="nchw", help="nhwc: channels_last"
    )
    parser.add_argument("--every", type=int, default=6, metavar="N")
    parser.add_argument("--usable", type=float, default=USABLE_GIB, metavar="GIB")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="these models instead")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--resume", action="store_true", help="go on with that file's rows")
    options = parser.parse_args()
    lines, recurrent = (read(path, options.layout) for path in (options.data, RECURRENT))
    if options.only:
        chosen = [line for line in (*lines, *recurrent) if line["model"] in options.only]
    else:
        chosen = [*recurrent, *sorted(lines[:: options.every], key=_shuffled)]
    if not chosen:
        parser.error(f"{options.data} has no such model")
    rows = known_rows(options.json) if options.resume else []
    done = {(row.model, row.resolution) for row in rows}
    usable = int(options.usable * 2**30)
    with tempfile.TemporaryDirectory() as folder, Simulation() as simulation:
        for line in chosen:
            if (line["model"], int(line["img_size"])) in done:
                continue
            rows.append(predict(simulation, line, options.layout, usable, Path(folder)))
            show(rows, options)
    bars = judge(rows)
    print(tabulate(bars, headers="keys"))
    sys.exit(int(not all(bar["ok"] for bar in bars)))


def known_rows(path: Path) -> list[Row]:
    """Return the rows of an earlier run; none where there is no file."""
    if not path.exists():
        return []
    report = json.loads(path.read_text(encoding="utf-8"))
    return [
        Row(**{key: value for key, value in row.items() if key != "verdict"})
        for row in report["rows"]
    ]


def show(rows: list[Row], options: argparse.Namespace) -> None:
    """Print the last row, and write all of them under `--json`."""
    row = rows[-1]
    print(
        row.model,
        row.fits,
        row.failed,
        row.predicted,
        row.verdict,
        row.error,
        f"{row.seconds:.1f} s",
        flush=True,
    )
    if options.json is None:
        return
    report = {
        "command": " ".join(["python", *sys.argv]),
        "usable_gib": options.usable,
        "torch": version("torch"),
        "timm": version("timm"),
        "bars": judge(rows),
        "rows": [asdict(each) | {"verdict": each.verdict} for each in rows],
    }
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
