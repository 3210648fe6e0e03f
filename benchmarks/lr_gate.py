"""Tests the gate of the learning rate: unchanged cases must pass, and moved rates must fail.

    python benchmarks/lr_gate.py --json benchmarks/results/lr_gate.json [--runs 30] [--plot PATH]

Each reference case runs again and again at its locked batch, without a search, unchanged but for
what chance may change: the seeds, a batch that is 1% smaller or larger (at least one sample), one
thread or two. No run may fail by the committed lock. In between, changes are planted in two of the
networks, at a batch of 64 and images of 8 x 8 pixels, against a lock that a first range test makes.
An oracle of constant rates tells how far the best rate really moved, and of those that moved by x3
or more nineteen of twenty must fail. What is in the file that --json names is not run again, and
Ctrl-C ends with the sum of what is there. The exit code is 1 when a bar is missed, or a run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from learning_rates.gate import at_resolution, device_of, lock_of, run_against, with_module
from learning_rates.gate_picture import draw
from learning_rates.moved import moved_by
from learning_rates.planted import CHANGES, FROM_ADAMW
from tabulate import tabulate

from harness.lockfile.profiles import Lock, LockedProfile, read_lock
from harness.matrix.cases import load_matrix
from harness.probes.open_cases import OpenCase, Surroundings, open_case

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.matrix.case import Case

ROOT = Path(__file__).resolve().parent.parent
PROFILES = ROOT / "profiles"
SYS_PATH = (str(ROOT), str(Path(__file__).resolve().parent), *sys.path)
BARS = {"unchanged runs that fail": 0, "share caught of those moved by x3": 0.95}
_FACTORS = (0.99, 1.0, 1.01)
# Runs and changes alternate, so that a file that was broken off has some of each.
_ROUND = 2
# An AlexNet learns too little in the steps of an oracle, and a ViT too little by SGD.
_PLANTED_IN = {"resnet-cpu-32MiB-16": tuple(CHANGES), "vit-cpu-32MiB-16": FROM_ADAMW}
_PLANTED_BATCH = 64
_PLANTED_RESOLUTION = 8
_PLANTED_SEEDS = (3, 4, 5)
_PLANTED_CLASS = "learning_rates.planted.Planted"
_MOVED = 3.0


class Results:
    """The results so far, on disk after each run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.data: dict[str, Any] = {"locks": {}, "unchanged": {}, "planted": {}, "oracles": {}}
        if path.exists():
            self.data |= json.loads(path.read_text())

    def keep(self, part: str, name: str, value: Any) -> None:
        """Add a result and write the file."""
        self.data[part][name] = value
        self.write()

    def write(self) -> None:
        """Write the file."""
        self._path.write_text(json.dumps(self.data, indent=1) + "\n")


@contextmanager
def opened_case(case: Case, num_threads: int = 1) -> Iterator[OpenCase]:
    """Open a case as a measurement does; its files are not kept."""
    with tempfile.TemporaryDirectory() as folder:
        surroundings = Surroundings(Path(folder), ROOT, SYS_PATH)
        device = device_of(case, num_threads)
        with device.hold(), open_case(case, device, None, surroundings) as opened:
            yield opened


def lock_for(results: Results, name: str, case: Case, batch_size: int) -> LockedProfile:
    """Return the lock of a case, which one cold range test makes."""
    if name not in results.data["locks"]:
        with opened_case(case) as opened:
            locked = lock_of(opened, batch_size)
        results.keep("locks", name, asdict(locked))
    return LockedProfile.from_json(results.data["locks"][name])


def unchanged(results: Results, cases: Sequence[Case], lock: Lock, numbers: range) -> None:
    """Run the cases unchanged; run k has its own seeds, batch and number of threads."""
    for case in cases:
        locked = lock.find(case.axes)
        assert locked is not None, f"{case.id} is in no lock"
        results.keep("locks", case.id, asdict(locked))
        for num_threads in (1, 2):
            left = [
                number
                for number in numbers
                if number % 2 == num_threads - 1
                and f"{case.id} {number}" not in results.data["unchanged"]
            ]
            if left:
                with opened_case(case, num_threads) as opened:
                    for number in left:
                        _unchanged_run(results, opened, locked, number)


def _unchanged_run(results: Results, opened: OpenCase, locked: LockedProfile, number: int) -> None:
    factor, case = _FACTORS[number % 3], opened.case
    least = {0.99: -1, 1.0: 0, 1.01: 1}[factor]
    moved = round(factor * locked.batch_size) - locked.batch_size
    batch_size = locked.batch_size + (moved or least)
    seeds = (3 * number, 3 * number + 1, 3 * number + 2)
    started = time.monotonic()
    run = asdict(run_against(opened, locked, batch_size, seeds))
    run |= {"batch_size": batch_size, "seconds": round(time.monotonic() - started, 1)}
    run |= {
        "threads": int(opened.runner.device.environment["OMP_NUM_THREADS"]),
        "seeds_from": seeds[0],
    }
    results.keep("unchanged", f"{case.id} {number}", run)
    print(f"{case.id} {number}: {run}", file=sys.stderr, flush=True)


def planted(results: Results, cases: Sequence[Case]) -> None:
    """Plant each change in each case, unless it changes nothing there."""
    for case in cases:
        small = at_resolution(case, _PLANTED_RESOLUTION)
        for change in _PLANTED_IN[case.id]:
            before, after = CHANGES[change]
            name = f"{case.model}: {change}"
            if name in results.data["planted"]:
                continue
            moved = moved_by(results.data["oracles"], small, before, after, _PLANTED_BATCH)
            results.write()
            lock_name = f"{case.model} {json.dumps(before)}"
            locked_case = with_module(small, _PLANTED_CLASS, before)
            locked = lock_for(results, lock_name, locked_case, _PLANTED_BATCH)
            if locked.learning_rate is None:
                continue
            with opened_case(with_module(small, _PLANTED_CLASS, after)) as opened:
                run = asdict(run_against(opened, locked, _PLANTED_BATCH, _PLANTED_SEEDS))
            run |= {"moved_by": moved, "locked": locked.learning_rate}
            results.keep("planted", name, run)
            print(f"{name}: {run}", file=sys.stderr, flush=True)


def run_all(results: Results, cases: Sequence[Case], lock: Lock, runs: int) -> None:
    """Run what is not in the results yet, and keep each as soon as it is there."""
    changed = [case for case in cases if case.id in _PLANTED_IN]
    for first in range(1, runs + 1, _ROUND):
        unchanged(results, cases, lock, range(first, min(first + _ROUND, runs + 1)))
        planted(results, changed[:1])
        changed = changed[1:]
    planted(results, changed)


def summarise(data: dict[str, Any]) -> dict[str, float]:
    """Return the numbers that have bars, and of how many they are."""
    runs, changes = data["unchanged"].values(), data["planted"].values()
    known = [one for one in changes if one["moved_by"] is not None]
    moved = [one for one in known if max(one["moved_by"], 1 / one["moved_by"]) >= _MOVED]
    still = [one for one in known if one not in moved]
    caught = sum(one["failed"] for one in moved)
    return {
        "unchanged runs": len(runs),
        "unchanged runs that fail": sum(one["failed"] for one in runs),
        "unchanged runs of one seed": sum(one["seeds"] == 1 for one in runs),
        "planted changes": len(changes),
        "moved by x3": len(moved),
        "caught of those": caught,
        "share caught of those moved by x3": round(caught / len(moved), 3) if moved else 0.0,
        "failed of the others": sum(one["failed"] for one in still),
    }


def missed(figures: dict[str, float]) -> list[str]:
    """Return the bars that are missed."""
    fails, caught = BARS
    found = [fails] if figures[fails] > BARS[fails] else []
    return found + ([caught] if figures[caught] < BARS[caught] else [])


def _print(data: dict[str, Any], cases: Sequence[Case]) -> None:
    rows = []
    for case in cases:
        runs = [run for name, run in data["unchanged"].items() if name.startswith(f"{case.id} ")]
        rates = [run["learning_rate"] for run in runs if run["learning_rate"] is not None]
        if not rates:
            continue
        locked = data["locks"][case.id]
        low, high = locked["learning_rate_range"]
        rows.append(
            (
                case.id,
                f"{locked['learning_rate']:.3g}",
                f"{low:.3g} to {high:.3g}",
                f"{min(rates):.3g} to {max(rates):.3g}",
                f"{sum(run['steps'] for run in runs) / len(runs):.0f}",
                len(runs),
                sum(run["failed"] for run in runs),
            )
        )
    headers = ("unchanged", "locked", "range", "measured", "steps", "runs", "failed")
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True), end="\n\n")
    changes = [
        (
            name,
            "learns nothing" if one["moved_by"] is None else f"x{one['moved_by']:.3g}",
            f"{one['locked']:.3g}",
            "refused" if one["learning_rate"] is None else f"{one['learning_rate']:.3g}",
            "fails" if one["failed"] else "passes",
        )
        for name, one in data["planted"].items()
    ]
    columns = ("planted", "best rate moved", "locked", "measured", "verdict")
    print(tabulate(changes, columns, tablefmt="github", disable_numparse=True), end="\n\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is not in the file yet, print the tables, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", type=Path, required=True, help="where the results are kept")
    parser.add_argument("--runs", type=int, default=30, help="unchanged runs of each case")
    parser.add_argument("--plot", type=Path, help="where to draw the results")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sys.path[:0] = [str(ROOT)]
    results = Results(options.json)
    results.data["environment"] = {"torch": version("torch"), "lightning": version("lightning")}
    cases = load_matrix(PROFILES / "matrix.yaml", SYS_PATH)
    lock = read_lock(PROFILES / "gpu-profile.lock")
    unfinished = []
    try:
        run_all(results, cases, lock, options.runs)
    except KeyboardInterrupt:
        unfinished = ["unfinished"]
    figures = summarise(results.data)
    failed = missed(figures) + unfinished
    results.data |= {"bars": BARS, "figures": figures, "missed": failed}
    results.write()
    _print(results.data, cases)
    for name, value in figures.items():
        bar = f", bar {BARS[name]}" if name in BARS else ""
        print(f"{name}: {value}{bar}{', MISSED' if name in failed else ''}")
    if options.plot:
        draw(results.data, options.plot)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
