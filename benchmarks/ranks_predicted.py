"""Predicts trainings on 1 to 1024 GPUs from one process, and compares 8 with 8 processes.

    python benchmarks/ranks_predicted.py [--quick] [--json PATH]

The model has two blocks of 4096 features, 268 million parameters, and is spread by DDP, by FSDP1
and by `fully_shard`, on simulated H100s that are emulated as ones of 16 GiB. For each and each
number of GPUs one process predicts the largest batch: its rank 0 stands for all. At 8 GPUs, eight
processes then train the largest batch, and the next one. It needs a CUDA build of torch
(constraints-cuda.txt), and no GPU.

*seconds* are those of the whole prediction, from the start of its zygote on. The exit code is 1
when a bar is missed. `--quick` takes `fully_shard` on 8 GPUs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from cuda_experiments.processes import ROOT, SYS_PATH
from tabulate import tabulate

from harness.batch_search.training import train
from harness.matrix.ranks import with_devices
from harness.matrix.without_file import make_cases
from harness.predict.gpus import by_label
from harness.predict.prediction import predict
from harness.predict.simulation import Simulation
from harness.probes.open_cases import Surroundings

if TYPE_CHECKING:
    from harness.matrix.case import Case

GPU = by_label("H100")
GIB = 1 << 30
WORKLOADS = str(ROOT / "tests" / "workloads")
KINDS = {"DDP": "ddp", "FSDP1": "fsdp1", "fully_shard": "fsdp2"}
DEVICES = (1, 2, 8, 64, 1024)
COMPARED = 8
TOLERANCE = 0.01


@dataclass(frozen=True)
class Prediction:
    """The largest batch of a rank, by one process."""

    kind: str
    devices: int
    batch: int
    peak_mib: float
    probes: int
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """The largest batch of a prediction, trained by one process and by eight."""

    kind: str
    batch: int
    peak_of_one_bytes: int
    peak_of_eight_bytes: int
    eight_fit: bool
    eight_fit_the_next: bool
    seconds_of_one: float
    """Of a probe. Its zygote has started."""
    seconds_of_eight: float

    @property
    def difference(self) -> float:
        """How far the peaks differ, as a share."""
        return abs(self.peak_of_one_bytes / self.peak_of_eight_bytes - 1)


def case_of(kind: str, devices: int) -> Case:
    """Return a case of one kind on so many GPUs."""
    training = {"class_path": "worlds_zoo.Spread", "init_args": {"kind": kind, "width": 4096}}
    (case,) = make_cases(
        {"training": training},
        {"name": "*", "budget": 16 * GIB},
        labels=(kind, "h100-16GiB"),
        search_path=[WORKLOADS],
    )
    return with_devices(case, devices)


def predict_one(kind: str, name: str, devices: int, surroundings: Surroundings) -> Prediction:
    """Predict one case, from the start of a zygote on."""
    started = time.perf_counter()
    with Simulation() as simulation:
        opened = simulation.open(case_of(kind, devices), GPU, None, surroundings)
        found = predict(opened, GPU, with_holders=False)
    seconds = round(time.perf_counter() - started, 1)
    peak = round(found.peak_memory_bytes / 2**20, 1)
    return Prediction(name, devices, found.max_batch_size, peak, len(found.probes), seconds)


def compare(
    kind: str,
    one: Prediction,
    simulations: tuple[Simulation, Simulation],
    surroundings: Surroundings,
) -> Comparison:
    """Train the largest batch by one process and by eight, and the next one by eight."""
    case, batch = case_of(kind, one.devices), one.batch
    alone, every = (each.open(case, GPU, None, surroundings).opened for each in simulations)
    mine, yours, over = train(alone, batch), train(every, batch), train(every, batch + 1)
    return Comparison(
        one.kind,
        batch,
        mine.peak_memory_bytes or 0,
        yours.peak_memory_bytes or 0,
        yours.outcome == "fits",
        over.outcome == "fits",
        round(mine.seconds, 1),
        round(yours.seconds, 1),
    )


def judge(predictions: list[Prediction], comparisons: list[Comparison]) -> list[dict[str, object]]:
    """Return the results beside their bars."""
    off = max((one.difference for one in comparisons), default=0.0)
    same = sum(one.eight_fit and not one.eight_fit_the_next for one in comparisons)
    slowest = max((one.seconds for one in predictions if one.devices == max(DEVICES)), default=0.0)
    rows: list[tuple[str, float, float, bool]] = [
        ("largest difference of the peaks of 1 and 8 processes", off, TOLERANCE, off <= TOLERANCE),
        (
            "batches of 8 processes that are the largest",
            same,
            len(comparisons),
            same == len(comparisons),
        ),
        ("seconds, 1024 GPUs, most", slowest, 120.0, slowest <= 120.0),
    ]
    return [
        {"what": what, "value": value, "bar": bar, "verdict": "ok" if ok else "missed"}
        for what, value, bar, ok in rows
    ]


def main() -> None:
    """Predict and compare, print the tables, and write JSON under `--json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fully_shard on 8 GPUs")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()
    kinds = {"fully_shard": "fsdp2"} if arguments.quick else KINDS
    predictions: list[Prediction] = []
    comparisons: list[Comparison] = []
    with tempfile.TemporaryDirectory() as folder:
        surroundings = Surroundings(Path(folder), Path(folder), (WORKLOADS, *SYS_PATH))
        for name, kind in kinds.items():
            for devices in (COMPARED,) if arguments.quick else DEVICES:
                predictions.append(predict_one(kind, name, devices, surroundings))
                print(*asdict(predictions[-1]).values(), file=sys.stderr, flush=True)
        with Simulation() as alone, Simulation(every_rank=True) as every:
            for one in predictions:
                if one.devices == COMPARED:
                    found = compare(KINDS[one.kind], one, (alone, every), surroundings)
                    comparisons.append(found)
                    print(*asdict(found).values(), file=sys.stderr, flush=True)
    bars = judge(predictions, comparisons)
    if arguments.json:
        content = {
            "command": "python benchmarks/ranks_predicted.py",
            "gpu": "simulated H100, 16 GiB",
            "torch": version("torch"),
            "bars": bars,
            "predictions": [asdict(one) for one in predictions],
            "comparisons": [asdict(one) for one in comparisons],
        }
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")
    for table in ([asdict(one) for one in predictions], [asdict(one) for one in comparisons], bars):
        print(tabulate(table, headers="keys"))
    sys.exit(1 if any(bar["verdict"] == "missed" for bar in bars) else 0)


if __name__ == "__main__":
    main()
