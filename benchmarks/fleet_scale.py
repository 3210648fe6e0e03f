"""Measures a run of 10,000 cases on a simulated fleet: 200 GPUs of twelve kinds, nodes that fail.

    python benchmarks/fleet_scale.py [--cases 10000] [--json benchmarks/results/fleet_scale.json]

Everything is the real run, `pytest --gpu-profile --gpu-profile-executor`, but for the executor:
its nodes are simulated by discrete events on a virtual clock (`simulated_fleet/`). Each case ends
with a measurement of a real one's shape, and with a real one's number of logs and plots.

There are two runs, each in a process of its own. The first has no lock and writes one. The second
is compared with that lock, and so knows which cases take long. The controller's seconds are its
processor's, without those of the simulation; its memory is the peak of its process. The lower
bound of the time in which a fleet can be done is the work of the kind that has most of it for its
GPUs, or the longest case. Then each verb of the command is timed that reads all cases.

The exit code is 1 when the controller needs more than 60 s or 1 GiB in a run, or a case is lost.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from simulated_fleet.cluster import FAIR, GPUS, ROUGH, SimulatedCluster, Weather, lower_bound
from simulated_fleet.orders import makespan
from simulated_fleet.plugin import NAME, OUT, RUN, WEATHER
from simulated_fleet.project import KINDS, write_project
from simulated_fleet.values import Values
from tabulate import tabulate

from harness.lockfile.profiles import read_lock
from harness.matrix.cases import load_matrix

_MOST_SECONDS, _MOST_MIB = 60.0, 1024
_ROOT = Path(__file__).parents[1]
_VERBS: dict[str, list[str]] = {
    "check --lock-only": ["check", "--lock-only"],
    "show": ["show", "model000-h100-224"],
    "diff": ["diff", "profiles/gpu-profile.lock", ".gpu-profile/candidate.lock"],
    "report": ["report", "--html", "page.html"],
    "history": ["history", "model000-h100-224"],
}


def session(project: Path, number: int, *flags: str) -> dict[str, Any]:
    """Run pytest on the simulated fleet; return what it has measured of itself."""
    out = project / f"run{number}.json"
    paths = os.pathsep.join([str(_ROOT), str(_ROOT / "benchmarks")])
    environment = os.environ | {
        RUN: str(number),
        WEATHER: "rough",
        OUT: str(out),
        "PYTHONPATH": paths,
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "simulated_fleet.plugin"]
    command += ["-p", "no:cacheprovider", "--gpu-profile", "--gpu-profile-executor", NAME, *flags]
    began = time.perf_counter()
    done = subprocess.run(
        command, check=False, cwd=project, env=environment, capture_output=True, text=True
    )
    if not out.exists():
        raise SystemExit(f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    found |= {
        "wall_seconds": round(time.perf_counter() - began, 1),
        "exit_code": done.returncode,
        "last_line": done.stdout.strip().splitlines()[-1],
        "terminal_lines": len(done.stdout.splitlines()),
    }
    return found


def verb(project: Path, words: list[str]) -> dict[str, Any]:
    """Run a verb of the command; return its processor's seconds and its memory."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = (
        "import resource, sys; from harness.cli import main\n"
        "try: code = main()\n"
        "except SystemExit as error: code = error.code\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        check=False,
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "seconds": round(seconds, 1),
        "peak_mib": int(done.stderr.split()[-1]) // 1024,
        "exit_code": done.returncode,
        "lines": len(done.stdout.splitlines()),
        "last_line": (done.stdout.strip().splitlines() or [done.stderr.strip()])[-1][:200],
    }


def orders(project: Path) -> dict[str, Any]:
    """Return the makespans by the fleet alone, in the order of the matrix and longest first."""
    cases = load_matrix(project / "profiles" / "matrix.yaml", [str(project)])
    lock = read_lock(project / "profiles" / "gpu-profile.lock")
    values = Values()
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for case in cases:
        seconds[case.gpu].append(values.seconds(case))
    bound = lower_bound(seconds, GPUS)
    found: dict[str, Any] = {"lower_bound_seconds": round(bound)}
    weathers: dict[str, Weather] = {"nothing fails": FAIR, "nodes fail": ROUGH}
    for name, weather in weathers.items():
        for order in ("matrix", "longest first"):
            cluster = SimulatedCluster(values, weather, answers=False)
            ended = makespan(cluster, cases, lock, longest=order == "longest first")
            by_kind = max(cluster.tally.ended_of.get(kind, 0.0) for kind in KINDS)
            assert by_kind == ended
            found[f"{name}, {order}"] = {
                "makespan_seconds": round(ended),
                "over_lower_bound": round(ended / bound, 4),
                "worst_kind_over_its_bound": round(
                    max(
                        cluster.tally.ended_of[kind] / lower_bound({kind: some}, GPUS)
                        for kind, some in seconds.items()
                    ),
                    4,
                ),
                "lost_tasks": cluster.tally.lost,
                "failures_of_nodes": cluster.tally.failures_of_nodes,
            }
    return found


def commit(project: Path) -> None:
    """Commit the lockfile, for the verbs that read its history."""
    who = ["-c", "user.name=fleet", "-c", "user.email=fleet@example.org"]
    lock = "profiles/gpu-profile.lock"
    for words in (["init", "-q"], ["add", lock], ["commit", "-qm", "Lock the fleet"]):
        subprocess.run(["git", *who, *words], cwd=project, check=True)  # noqa: S607 - of the PATH


def results_of(project: Path) -> dict[str, Any]:
    """Return how large the files of the last run are, and what its cases tell of lost tasks."""
    folder = project / ".gpu-profile"
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    warned = [case["warnings"] for case in report["cases"]]
    names = ("report.json", "report.md", "report.html", "candidate.lock")
    return {
        "bytes": {name: (folder / name).stat().st_size for name in names}
        | {"gpu-profile.lock": (project / "profiles" / "gpu-profile.lock").stat().st_size},
        "cases": len(report["cases"]),
        "statuses": {
            status: sum(case["status"] == status for case in report["cases"])
            for status in ("passed", "failed", "error", "skipped")
        },
        "measured_again": sum(any("measured again" in one for one in some) for some in warned),
        "folders": sum(path.is_dir() for path in folder.iterdir()),
    }


def main() -> int:
    """Measure, print and save; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        project = Path(name)
        write_project(project, options.cases)
        runs = {}
        runs["first"] = session(project, 0, "--gpu-profile-update")
        runs["first"] |= results_of(project)
        commit(project)
        runs["second"] = session(project, 1, "--junitxml=junit.xml")
        runs["second"] |= results_of(project)
        runs["second"]["bytes"]["junit.xml"] = (project / "junit.xml").stat().st_size
        verbs = {title: verb(project, words) for title, words in _VERBS.items()}
        result: dict[str, Any] = {
            "command": f"python benchmarks/fleet_scale.py --cases {options.cases}",
            "cases": options.cases,
            "gpus": sum(GPUS.values()),
            "runs": runs,
            "orders": orders(project),
            "verbs": verbs,
            "python": platform.python_version(),
            "cpus": os.cpu_count(),
            "load_at_the_end": round(os.getloadavg()[0], 1),
        }
    bound = result["orders"]["lower_bound_seconds"]
    missed = False
    for title, run in runs.items():
        run["gpu_utilisation"] = round(
            sum(run["busy_seconds"].values()) / (sum(GPUS.values()) * run["makespan_seconds"]), 3
        )
        run["over_lower_bound"] = round(run["makespan_seconds"] / bound, 4)
        bars = [
            ("the controller's seconds", run["controller_seconds"], _MOST_SECONDS),
            ("its peak of memory, MiB", run["peak_mib"], _MOST_MIB),
            ("cases that are missing", options.cases - run["cases"], 0),
        ]
        missed = missed or any(value > bar for _, value, bar in bars)
        rows: list[tuple[Any, ...]] = [
            (*bar, "ok" if bar[1] <= bar[2] else "missed") for bar in bars
        ]
        rows += [(part, seconds, "", "") for part, seconds in run["seconds"].items()]
        print(f"{title} run: {run['last_line']}")
        print(tabulate(rows, ("what", "measured", "bar", "")), end="\n\n")
    print(json.dumps({key: result[key] for key in ("orders", "verbs")}, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
