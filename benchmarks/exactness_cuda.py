"""Runs real searches on a simulated GPU, with torch's CUDA build and its own allocator.

    python benchmarks/exactness_cuda.py [--quick] [--json benchmarks/results/exactness_cuda.json]

There are sixty cases: ten networks, three precisions, and an H100 that is emulated as one of 8 and
of 24 GiB. It needs a CUDA build of torch (constraints-cuda.txt), and no GPU. Each case has

- a cold search as gpu-profile runs it; its answer is B;
- a check in another zygote that B fits and B + 1 does not;
- a warm search, which starts from B as a lock has it.

*work* is the number of samples that completed a training step / (B x steps per probe). *aimed* is
the batch that the search tried first in full, relative to B. The exit code is 1 when a bar is
missed. `--quick` runs one network.
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
from cuda_experiments.simulation import simulated_gpu
from exactness_cuda_cases import BUDGETS, GIB, NETWORKS, PRECISIONS
from tabulate import tabulate

from harness.batch_search.training import search_training, train
from harness.devices.finding import find_device
from harness.lockfile.profiles import LockedProfile
from harness.matrix.case import Case
from harness.matrix.settings import BoundsSettings, GpuSettings, LrRangeSettings, SearchSettings
from harness.probes.open_cases import Surroundings, open_case
from harness.simulated.environment import environment
from harness.simulated.mark import is_simulated
from harness.simulated.world import World

if TYPE_CHECKING:
    from harness.batch_search.sizes import FoundBatch
    from harness.probes.open_cases import OpenCase

GPU = "H100"
BARS = (
    ("probes cold, median", 5),
    ("probes cold, most", 8),
    ("probes warm, most", 2),
    ("work cold, median", 2.5),
)


@dataclass(frozen=True)
class Run:
    """One search with a zygote of its own."""

    max_batch_size: int
    probes: list[str]
    """Each size that was tried, with an x if it did not fit."""
    work: float
    seconds: float

    @classmethod
    def of(cls, found: FoundBatch, steps: int, seconds: float) -> Run:
        """Sum up what a search found."""
        largest = found.max_batch_size
        return cls(
            largest,
            [f"{one.batch_size}{'' if one.outcome == 'fits' else 'x'}" for one in found.probes],
            round(sum(one.samples for one in found.probes) / (largest * steps), 2),
            round(seconds, 1),
        )


@dataclass(frozen=True)
class Result:
    """All runs of one case."""

    case: str
    cold: Run
    confirmed: tuple[str, str]
    """The outcomes of B and of B + 1 in a fresh zygote."""
    warm: Run

    @property
    def exact(self) -> bool:
        """Whether B fits and B + 1 is out of memory, in fresh processes."""
        return self.confirmed == ("fits", "oom")


def make_case(network: str, precision: str, budget: int) -> Case:
    """Return a case as a matrix would make it."""
    label = f"{budget // GIB}GiB"
    return Case(
        f"{network}-{label}-{precision}",
        {"model": network, "gpu": label, "resolution": precision},
        NETWORKS[network],
        GpuSettings(name="*", budget=budget),
        {"precision": precision},
        SearchSettings(),
        LrRangeSettings(),
        BoundsSettings(),
    )


def measure(case: Case, directory: Path) -> Result:
    """Search cold and warm, and check the answer."""
    steps = case.search.steps_per_trial
    device = find_device(case.device, case.search.target_memory_fraction)
    surroundings = Surroundings(directory, directory, tuple(SYS_PATH))

    def searched(opened: OpenCase) -> Run:
        started = time.perf_counter()
        found = search_training(opened)
        return Run.of(found, steps, time.perf_counter() - started)

    with open_case(case, device, None, surroundings) as opened:
        cold = searched(opened)
    largest = cold.max_batch_size
    with open_case(case, device, None, surroundings) as opened:
        fits, fails = (train(opened, size).outcome for size in (largest, largest + 1))
        locked = LockedProfile(
            axes=case.axes,
            batch_size=largest,
            max_batch_size=largest,
            bounded_by="memory",
            memory_limit_bytes=opened.runner.memory_limit_bytes or 0,
            fingerprint="",
            recipe="",
            device=device.identity,
        )
        warm = searched(replace(opened, locked=locked))
    return Result(case.id, cold, (fits, fails), warm)


def row(result: Result) -> dict[str, Any]:
    """Return the row of the table for one case."""
    return {
        "case": result.case,
        "B": result.cold.max_batch_size,
        "B, B+1": " ".join(result.confirmed),
        "cold": len(result.cold.probes),
        "work": result.cold.work,
        "seconds": result.cold.seconds,
        "warm": len(result.warm.probes),
        "sizes": " ".join(result.cold.probes),
    }


def judge(results: list[Result]) -> list[dict[str, Any]]:
    """Return the results beside their bars."""
    probes = [len(result.cold.probes) for result in results]
    values = (
        statistics.median(probes),
        max(probes),
        max(len(result.warm.probes) for result in results),
        statistics.median(result.cold.work for result in results),
    )
    exact = sum(result.exact for result in results)
    judged: list[tuple[str, float, float, bool]] = [
        ("cases where B fits and B + 1 does not", exact, len(results), exact == len(results))
    ]
    for (name, most), value in zip(BARS, values, strict=True):
        judged.append((name, value, most, value <= most))
    table: list[dict[str, Any]] = [
        {"what": name, "value": value, "bar": bar, "verdict": "ok" if ok else "missed"}
        for name, value, bar, ok in judged
    ]
    most_work = max(result.cold.work for result in results)
    return [*table, {"what": "work cold, most", "value": most_work, "bar": None, "verdict": None}]


def report(results: list[Result]) -> dict[str, Any]:
    """Return everything as data for JSON."""
    return {
        "command": "python benchmarks/exactness_cuda.py",
        "gpu": f"simulated {GPU}",
        "torch": version("torch"),
        "lightning": version("lightning"),
        "torchvision": version("torchvision"),
        "transformers": version("transformers"),
        "bars": judge(results),
        "results": [asdict(result) for result in results],
    }


def main() -> None:
    """Measure all cases, print the tables, and write JSON under `--json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one network")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        if not is_simulated():
            world = World.create(Path(directory) / "world", [simulated_gpu(GPU)])
            inside = os.environ | environment(world)
            again = subprocess.run([sys.executable, *sys.argv], env=inside, check=False)
            sys.exit(again.returncode)
        results = []
        cases = [
            make_case(network, precision, budget)
            for budget in BUDGETS
            for network in (list(NETWORKS)[:1] if arguments.quick else NETWORKS)
            for precision in PRECISIONS
        ]
        for case in cases:
            results.append(measure(case, Path(directory)))
            print(*row(results[-1]).values(), file=sys.stderr, flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(report(results), indent=1) + "\n")
    print(tabulate([row(result) for result in results], headers="keys"))
    bars = judge(results)
    print(tabulate(bars, headers="keys"))
    sys.exit(1 if any(bar["verdict"] == "missed" for bar in bars) else 0)


if __name__ == "__main__":
    main()
