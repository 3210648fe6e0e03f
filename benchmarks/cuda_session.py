"""Runs the experiments that need a real GPU, in 25 minutes.

    python benchmarks/cuda_session.py --json session.json [--only 1,3] [--budget 4GiB] [--dry-run]
    python benchmarks/cuda_session.py --json session.json --only none
        --fixtures tests/data/cuda_exceptions.json

Each fact of an experiment is on disk as soon as it is found. A session may be split over several
calls: an existing JSON keeps its other experiments. `--dry-run` uses the bounded CPU instead of the
GPU, to try the script. `--fixtures` replaces recorded exceptions by those of experiment 3 that a
GPU has shown. See benchmarks/CUDA.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

# For machines where the package is not installed.
sys.path.insert(1, str(Path(__file__).resolve().parent.parent))

from cuda_experiments.endings import killed_in_a_step, large_tensors
from cuda_experiments.failures import failures, update_fixtures
from cuda_experiments.identity import forking, identity
from cuda_experiments.peaks import speed_at_the_edge, step_peaks
from cuda_experiments.searching import cold_searches, eight_workloads
from cuda_experiments.setting import NeedsCudaError, Setting
from cuda_experiments.whole_runs import whole_runs

from harness.units import parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cuda_experiments.setting import Experiment


@dataclass(frozen=True)
class Planned:
    """One experiment of the session."""

    title: str
    run: Experiment
    seconds: float
    """The time after which no further part of it starts."""


EXPERIMENTS: dict[str, Planned] = {
    "1": Planned("identity and totals", identity, 45),
    "2": Planned("forking", forking, 90),
    "3": Planned("out of memory in every way", failures, 240),
    "4": Planned("cold searches", cold_searches, 330),
    "5": Planned("peaks per step", step_peaks, 120),
    "6": Planned("speed at the edge", speed_at_the_edge, 90),
    "7": Planned("eight workloads", eight_workloads, 300),
    "8": Planned("killed in a step", killed_in_a_step, 30),
    "9": Planned("whole runs", whole_runs, 200),
    "10": Planned("2^31 elements", large_tensors, 55),
}
"""The experiments in their order; late ones may leave the device in a bad state. 1500 s in all."""


def conduct(
    planned: Planned, setting: Setting, keep: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Run one experiment, and return its result; an exception becomes part of the result.

    keep: called with the result so far after each fact.
    """
    started = time.monotonic()
    result: dict[str, Any] = {
        "title": planned.title,
        "status": "running",
        "seconds": 0.0,
        "facts": {},
    }
    keep(result)
    facts = planned.run(setting)
    try:
        result["status"] = "done"
        for name, fact in facts:
            result["facts"][name] = fact
            result["seconds"] = round(time.monotonic() - started, 1)
            if result["seconds"] > planned.seconds:
                result["status"] = "out of time"
                break
            keep(result | {"status": "running"})
    except NeedsCudaError:
        result["status"] = "needs CUDA"
    except Exception as error:  # noqa: BLE001 - the other experiments go on
        result |= {"status": "crashed", "error": repr(error), "traceback": traceback.format_exc()}
    result["seconds"] = round(time.monotonic() - started, 1)
    keep(result)
    return result


def run_session(
    path: Path,
    setting: Setting,
    chosen: list[str],
    experiments: Mapping[str, Planned] = EXPERIMENTS,
) -> dict[str, Any]:
    """Run the chosen experiments, and write them to the file at `path`; return its content.

    The file keeps its other experiments.
    """
    session: dict[str, Any] = {"experiments": {}}
    if path.exists():
        session = json.loads(path.read_text(encoding="utf-8"))
    session |= {
        "dry_run": setting.dry_run,
        "budget_bytes": setting.budget_bytes,
        "machine": platform.platform(),
        "python": platform.python_version(),
    }
    for number in chosen:

        def keep(result: dict[str, Any], number: str = number) -> None:
            session["experiments"][number] = result
            _write(path, session)

        result = conduct(experiments[number], setting, keep)
        print(
            f"{number:>2} {result['title']}: {result['status']}, {result['seconds']:.0f} s",
            flush=True,
        )
    return session


def _write(path: Path, session: dict[str, Any]) -> None:
    """Replace the file in one piece: the machine may end at any moment."""
    order = sorted(session["experiments"], key=int)
    session["experiments"] = {number: session["experiments"][number] for number in order}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(session, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--json", type=Path, required=True, help="file for the facts; an existing one is extended"
    )
    parser.add_argument("--only", help="numbers of experiments, with commas; `none` runs none")
    parser.add_argument("--budget", help="budget of memory; default: 4GiB, and 32MiB in a dry run")
    parser.add_argument(
        "--directory",
        type=Path,
        help="folder for logs and recorded histories; default: beside the JSON",
    )
    parser.add_argument(
        "--fixtures", type=Path, help="replace recorded exceptions by those that a GPU has shown"
    )
    parser.add_argument("--dry-run", action="store_true", help="run on the bounded CPU")
    options = parser.parse_args(arguments)
    numbers = options.only.split(",") if options.only else list(EXPERIMENTS)
    options.chosen = [] if options.only == "none" else numbers
    if unknown := set(options.chosen) - set(EXPERIMENTS):
        parser.error(
            f"--only: {', '.join(sorted(unknown))} is not one of {', '.join(EXPERIMENTS)}, none"
        )
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run a session; exit code 1 when an experiment crashed."""
    options = _parse(arguments)
    setting = Setting(
        dry_run=options.dry_run,
        budget_bytes=parse_size(options.budget or ("32MiB" if options.dry_run else "4GiB")),
        directory=options.directory
        or options.json.absolute().parent / f"{options.json.stem}-files",
    )
    session = run_session(options.json, setting, options.chosen)
    if options.fixtures:
        facts = session["experiments"].get("3", {}).get("facts", {})
        rows = update_fixtures(options.fixtures, facts)
        print(f"{len(rows)} records replaced or added:", *rows, sep="\n  ")
    return int(
        any(session["experiments"][number]["status"] == "crashed" for number in options.chosen)
    )


if __name__ == "__main__":
    sys.exit(main())
