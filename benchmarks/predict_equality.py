"""Compares predictions with whole searches on a simulated GPU, and times them.

    python benchmarks/predict_equality.py [--quick] [--json PATH]

There are thirty cases: ten networks, three precisions, on an H100 that is emulated as one of 24
GiB. Each is searched as `pytest --gpu-profile` does where that GPU is found by NVML, and predicted
as `gpu-profile predict` does where there is none. Both must end on the same batch. Then the same
zygote predicts it for a further GPU. It needs a CUDA build of torch (constraints-cuda.txt), and no
GPU.

*first* are the seconds of a prediction, from the start of its zygote on; *further* those of a
further GPU. The exit code is 1 when a bar is missed. `--quick` compares one network.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuda_experiments.processes import SYS_PATH
from exactness_cuda import make_case
from exactness_cuda_cases import GIB, NETWORKS, PRECISIONS
from tabulate import tabulate

from harness.batch_search.training import search_training
from harness.devices.finding import find_device
from harness.matrix.settings import GpuSettings
from harness.predict.gpus import by_label, simulated
from harness.predict.prediction import predict
from harness.predict.simulation import Simulation
from harness.probes.open_cases import Surroundings, open_case
from harness.simulated.environment import environment
from harness.simulated.mark import is_simulated
from harness.simulated.world import World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.matrix.case import Case
    from harness.measurement import Probe

GPU = "H100"
FURTHER = ("A100-40GB",)
BUDGET = 24 * GIB
FIRST_SECONDS, FURTHER_SECONDS = 20.0, 5.0


@dataclass(frozen=True)
class Result:
    """One case, searched and predicted."""

    case: str
    searched: int
    predicted: int
    search_probes: list[str]
    """Each size that the search tried, with an x if it did not fit."""
    prediction_probes: list[str]
    first_seconds: float
    further: dict[str, int]
    """The predicted batch of each further GPU."""
    further_seconds: list[float]


def compare(case: Case, directory: Path) -> Result:
    """Search a case and predict it."""
    surroundings = Surroundings(directory, directory, tuple(SYS_PATH))
    device = find_device(case.device, case.search.target_memory_fraction)
    with open_case(case, device, None, surroundings) as opened:
        searched = search_training(opened)
    with Simulation() as simulation:
        started = time.perf_counter()
        gpu = by_label(GPU)
        found = predict(simulation.open(case, gpu, None, surroundings), gpu)
        first = time.perf_counter() - started
        further: dict[str, int] = {}
        seconds: list[float] = []
        for label in FURTHER:
            started = time.perf_counter()
            gpu = by_label(label)
            whole = replace(case, device=GpuSettings(name="*"))
            other = predict(simulation.open(whole, gpu, None, surroundings), gpu)
            further[label] = other.max_batch_size
            seconds.append(round(time.perf_counter() - started, 1))
    return Result(
        case.id,
        searched.max_batch_size,
        found.max_batch_size,
        _sizes(searched.probes),
        _sizes(found.probes),
        round(first, 1),
        further,
        seconds,
    )


def _sizes(probes: Sequence[Probe]) -> list[str]:
    return [f"{one.batch_size}{'' if one.outcome == 'fits' else 'x'}" for one in probes]


def judge(results: list[Result]) -> list[dict[str, Any]]:
    """Return the results beside their bars."""
    equal = sum(result.searched == result.predicted for result in results)
    first = statistics.median(result.first_seconds for result in results)
    further = statistics.median(second for result in results for second in result.further_seconds)
    probes = [len(result.search_probes) for result in results]
    rows: list[tuple[str, float, float, bool]] = [
        ("cases where both end on the same batch", equal, len(results), equal == len(results)),
        (
            "probes of a search, median",
            statistics.median(probes),
            5,
            statistics.median(probes) <= 5,
        ),
        ("probes of a search, most", max(probes), 8, max(probes) <= 8),
        ("seconds, first GPU, median", first, FIRST_SECONDS, first <= FIRST_SECONDS),
        ("seconds, further GPU, median", further, FURTHER_SECONDS, further <= FURTHER_SECONDS),
    ]
    return [
        {"what": what, "value": value, "bar": bar, "verdict": "ok" if ok else "missed"}
        for what, value, bar, ok in rows
    ]


def main() -> None:
    """Compare all cases, print the tables, and write JSON under `--json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one network")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        if not is_simulated():
            world = World.create(Path(directory) / "world", [simulated(by_label(GPU))])
            inside = os.environ | environment(world)
            again = subprocess.run([sys.executable, *sys.argv], env=inside, check=False)
            sys.exit(again.returncode)
        results: list[Result] = []
        for network in list(NETWORKS)[:1] if arguments.quick else NETWORKS:
            for precision in PRECISIONS:
                case = make_case(network, precision, BUDGET)
                results.append(compare(case, Path(directory)))
                print(*asdict(results[-1]).values(), file=sys.stderr, flush=True)
                if arguments.json:
                    content = {
                        "command": "python benchmarks/predict_equality.py",
                        "gpu": f"simulated {GPU}, {BUDGET // GIB} GiB",
                        "torch": version("torch"),
                        "bars": judge(results),
                        "results": [asdict(result) for result in results],
                    }
                    arguments.json.write_text(json.dumps(content, indent=1) + "\n")
    print(tabulate([asdict(result) for result in results], headers="keys"))
    bars = judge(results)
    print(tabulate(bars, headers="keys"))
    sys.exit(1 if any(bar["verdict"] == "missed" for bar in bars) else 0)


if __name__ == "__main__":
    main()
