"""Runs real searches on the bounded CPU, and Lightning's Tuner beside them.

    python benchmarks/exactness.py [--quick] [--json benchmarks/results/exactness.json]

There are six workloads, under two budgets each. Each case has

- five cold searches, each with a zygote of its own; the first one's answer is B;
- a check in another zygote that B fits and B + 1 does not;
- a warm search, which starts from B;
- a run of Lightning's Tuner (`binsearch`) in one process, under the same bound and with the same
  number of steps. If it fails because it does not recognise a failed allocation, it runs again with
  our test for such failures.

*work* is the number of samples that completed a training step / (B x steps per probe). Scouts run
two steps. A probe at the limit takes further steps while its peak still grows, and these count.
*seconds* are those of the searches alone, without starting Python, importing torch and building the
module. Ours include all probes: fork, Trainer, data, training, end of the process. Lightning's are
those of `scale_batch_size`. *start-up* is the time of ours before the search. The exit code is 1
when a bar is missed. `--quick` runs two cases with two cold searches each.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exactness_cases import CASES
from tabulate import tabulate

from harness.batch_search.training import SCOUTING_STEPS
from harness.devices.cpu import CpuDevice
from harness.probes.runner import ProbeRunner
from harness.search.search import SearchResult, search

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.protocol.case import WorkloadSpec

STEPS = 3
NUM_COLD, NUM_COLD_QUICK = 5, 2
MIB = 2**20
HERE = Path(__file__).resolve().parent
SYS_PATH = [str(HERE.parent), str(HERE), *sys.path]


@dataclass(frozen=True)
class Run:
    """One search with a zygote of its own."""

    max_batch_size: int
    probes: list[str]
    """Each size that was tried, with an x if it did not fit."""
    samples: int
    seconds: float
    startup_seconds: float

    @property
    def work(self) -> float:
        """Completed samples, as a multiple of those of one probe at the maximum."""
        return self.samples / (self.max_batch_size * STEPS)


@dataclass(frozen=True)
class Result:
    """All runs of one case."""

    case: str
    budget_mib: int
    cold: list[Run]
    warm: Run
    confirmed: tuple[str, str]
    """The outcomes of B and of B + 1 in a fresh zygote."""
    lightning: dict[str, Any]
    """The answer of its Tuner; where the Tuner alone failed, it had our test for failures."""
    lightning_failure: str | None
    """The failure of its Tuner alone."""

    @property
    def spread(self) -> int:
        """Difference between the largest and the smallest answer, in samples."""
        found = [run.max_batch_size for run in self.cold]
        return max(found) - min(found)

    @property
    def repeats(self) -> bool:
        """Whether the answers differ by at most 0.5% or one sample."""
        return self.spread <= max(1, 0.005 * max(run.max_batch_size for run in self.cold))

    @property
    def timed(self) -> bool:
        """Whether Lightning's Tuner ended by itself, so that it has a time."""
        return not math.isnan(float(self.lightning["seconds"]))

    @property
    def cold_ratio(self) -> float:
        """Median seconds of a cold search / seconds of Lightning's Tuner."""
        return statistics.median(run.seconds for run in self.cold) / float(
            self.lightning["seconds"]
        )

    @property
    def warm_ratio(self) -> float:
        """Seconds of a warm search / seconds of Lightning's Tuner."""
        return self.warm.seconds / float(self.lightning["seconds"])


def open_runner(workload: WorkloadSpec, device: CpuDevice, directory: str) -> ProbeRunner:
    """Return a runner with a new zygote, which starts when the runner is entered."""
    return ProbeRunner(workload, device, {}, Path(directory), sys_path=SYS_PATH)


def run_search(
    workload: WorkloadSpec, device: CpuDevice, directory: str, locked: int | None = None
) -> Run:
    """Search once with a new zygote."""
    begun = time.perf_counter()
    with open_runner(workload, device, directory) as runner:
        runner.describe()  # as before any search
        started = time.perf_counter()
        result: SearchResult[Any] = search(
            lambda size: runner.train(size, steps=STEPS),
            scout=lambda size: runner.train(size, steps=SCOUTING_STEPS, settle=False),
            memory_limit_bytes=device.budget_bytes,
            locked=locked,
        )
        seconds = time.perf_counter() - started
    assert result.exact, f"the search ended {result.bounded_by}: {result.probes[-1]}"
    return Run(
        result.max_batch_size,
        [f"{size}{'' if probe.outcome == 'fits' else 'x'}" for size, probe in result.probes],
        sum(probe.samples for _, probe in result.probes),
        seconds,
        started - begun,
    )


def tune_with_lightning(
    workload: WorkloadSpec, device: CpuDevice, *, helped: bool
) -> dict[str, Any]:
    """Run Lightning's Tuner in a process of its own, in the environment of the probes."""
    request = {
        "sys_path": SYS_PATH,
        "workload": workload,
        "budget_bytes": device.budget_bytes,
        "steps": STEPS,
        "helped": helped,
    }
    # The Tuner saves a checkpoint in the working directory, which stays there when it crashes.
    with tempfile.TemporaryDirectory() as scratch:
        process = subprocess.run(
            [sys.executable, str(HERE / "lightning_tuner.py")],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            check=False,
            cwd=scratch,
            env=os.environ | dict(device.environment) | {"PYTHONPATH": os.pathsep.join(SYS_PATH)},
        )
    if process.returncode < 0:
        # The Tuner searches in one process, so a crash near the limit is its result.
        crash = f"killed by {signal.Signals(-process.returncode).name}"
        return {
            "batch_size": None,
            "failure": crash,
            "trials": 0,
            "samples": 0,
            "seconds": math.nan,
        }
    if process.returncode:
        raise RuntimeError(
            f"lightning_tuner.py exited with {process.returncode}:\n{process.stderr[-2000:]}"
        )
    answer: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return answer


def measure(case: str, workload: WorkloadSpec, budget_mib: int, num_cold: int) -> Result:
    """Run all searches of one case."""
    device = CpuDevice(budget_mib * MIB)
    with tempfile.TemporaryDirectory() as directory:
        cold = [run_search(workload, device, directory) for _ in range(num_cold)]
        largest = cold[0].max_batch_size
        with open_runner(workload, device, directory) as runner:
            runner.describe()
            fits, fails = (
                runner.train(size, steps=STEPS).outcome for size in (largest, largest + 1)
            )
        warm = run_search(workload, device, directory, locked=largest)
    alone = tune_with_lightning(workload, device, helped=False)
    failure = alone["failure"]
    tuned = alone if failure is None else tune_with_lightning(workload, device, helped=True)
    return Result(case, budget_mib, cold, warm, (fits, fails), tuned, failure)


def row(result: Result) -> dict[str, Any]:
    """Return the row of the table for one case."""
    largest = result.cold[0].max_batch_size
    peer = result.lightning
    return {
        "case": f"{result.case} {result.budget_mib} MiB",
        "B": largest,
        "B, B+1": " ".join(result.confirmed),
        "spread": result.spread,
        "probes": " ".join(str(len(run.probes)) for run in result.cold),
        "warm": len(result.warm.probes),
        "work": round(statistics.median(run.work for run in result.cold), 2),
        "work warm": round(result.warm.work, 2),
        "seconds": round(statistics.median(run.seconds for run in result.cold), 1),
        "start-up": round(statistics.median(run.startup_seconds for run in result.cold), 1),
        "Lightning alone": "failed" if result.lightning_failure else peer["batch_size"],
        "Lightning": peer["batch_size"] or "failed",
        "trials": peer["trials"],
        "its work": round(peer["samples"] / (largest * STEPS), 2),
        "its seconds": round(peer["seconds"], 1),
        "ours/its": round(result.cold_ratio, 2),
        "warm/its": round(result.warm_ratio, 2),
    }


def _median(ratios: Iterable[float]) -> float:
    """Return the median of the ratios that are not NaN."""
    return statistics.median(ratio for ratio in ratios if not math.isnan(ratio))


def judge(results: list[Result]) -> list[dict[str, Any]]:
    """Return the results beside their bars."""
    cold = [run for result in results for run in result.cold]
    warm = [result.warm for result in results]
    probes = [len(run.probes) for run in cold]
    work = [run.work for run in cold]
    exact = sum(result.confirmed == ("fits", "oom") for result in results)
    repeating = sum(result.repeats for result in results)
    bars: list[tuple[str, float, float, bool]] = [
        (
            "cases where B fits and B + 1 is out of memory",
            exact,
            len(results),
            exact == len(results),
        ),
        ("cases with a spread of 0.5% or 1", repeating, len(results), repeating == len(results)),
    ]
    for name, value, most in (
        ("probes cold, median", statistics.median(probes), 5),
        ("probes cold, most", max(probes), 8),
        ("probes warm, most", max(len(run.probes) for run in warm), 2),
        ("work cold, median", statistics.median(work), 2.5),
        ("work warm, median", statistics.median(run.work for run in warm), 2.1),
        ("seconds cold / Lightning's, median", _median(r.cold_ratio for r in results), 1.0),
        ("seconds warm / Lightning's, median", _median(r.warm_ratio for r in results), 0.5),
    ):
        bars.append((name, round(value, 2), most, value <= most))
    notes = (
        ("work cold, most", max(work)),
        ("work warm, most", max(run.work for run in warm)),
        ("seconds cold / Lightning's, most", max(r.cold_ratio for r in results if r.timed)),
        ("seconds warm / Lightning's, most", max(r.warm_ratio for r in results if r.timed)),
    )
    return [
        {"what": name, "value": value, "bar": bar, "verdict": "ok" if ok else "missed"}
        for name, value, bar, ok in bars
    ] + [
        {"what": name, "value": round(value, 2), "bar": None, "verdict": None}
        for name, value in notes
    ]


def report(results: list[Result]) -> dict[str, Any]:
    """Return everything as data for JSON."""
    from importlib.metadata import version  # noqa: PLC0415 - not needed before the end

    return {
        "command": " ".join(["python", "benchmarks/exactness.py", *sys.argv[1:]]),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": version("torch"),
        "lightning": version("lightning"),
        "steps_per_trial": STEPS,
        "bars": judge(results),
        "rows": [row(result) for result in results],
        "results": [asdict(result) for result in results],
    }


def _without_nan(data: dict[str, Any]) -> dict[str, Any]:
    """Replace NaN by null, as JSON has no NaN."""
    plain: dict[str, Any] = json.loads(json.dumps(data), parse_constant=lambda _: None)
    return plain


def main() -> None:
    """Measure all cases, print the tables, and write JSON under `--json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="two cases with two cold searches each"
    )
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()
    cases = [
        (name, workload, budget)
        for name, (workload, budgets) in CASES.items()
        for budget in budgets
    ]
    results = []
    for name, workload, budget in cases[1:4:2] if arguments.quick else cases:
        result = measure(name, workload, budget, NUM_COLD_QUICK if arguments.quick else NUM_COLD)
        results.append(result)
        for run in (*result.cold, result.warm):
            print(f"{name} {budget} MiB:", *run.probes, file=sys.stderr, flush=True)
        for failure in (result.lightning_failure, result.lightning["failure"]):
            if failure:
                print(f"{name} {budget} MiB: Lightning:", failure, file=sys.stderr)
        if arguments.json:
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(
                json.dumps(_without_nan(report(results)), indent=1) + "\n", encoding="utf-8"
            )
    print(tabulate([row(result) for result in results], headers="keys"))
    bars = judge(results)
    print(tabulate(bars, headers="keys"))
    sys.exit(1 if any(bar["verdict"] == "missed" for bar in bars) else 0)


if __name__ == "__main__":
    main()
