"""Runs the project's own tests again and again, and counts the failed runs.

    python benchmarks/flakes.py --quick 100 --whole 5 [--json benchmarks/results/flakes.json]

--quick is the number of runs of the tests that start no probe, two at a time. --whole is the number
of runs of the default suite, one at a time with `-n 2`, as in the README. Each run is a pytest of
its own. The fuzzers have the same examples each time; other properties have new ones. The exit code
is 1 when a run failed. The JSON holds the last line of each run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
KINDS = {"quick": ["-m", "not probes and not slow"], "whole": ["-n", "2"]}
AT_A_TIME = {"quick": 2, "whole": 1}


def run(kind: str) -> dict[str, Any]:
    """Run the tests of one kind once."""
    begun = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *KINDS[kind]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = process.stdout.rstrip().splitlines()
    failures = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return {
        "kind": kind,
        "exit_code": process.returncode,
        "seconds": round(time.perf_counter() - begun, 1),
        "last_line": lines[-1] if lines else process.stderr[-500:],
        "failures": failures,
    }


def main() -> None:
    """Print a line and write the JSON after each run: the machine may end before the last."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", type=int, default=0, metavar="N")
    parser.add_argument("--whole", type=int, default=0, metavar="N")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    runs: list[dict[str, Any]] = []
    for kind in KINDS:
        many = ThreadPool(AT_A_TIME[kind]).imap_unordered(run, [kind] * getattr(options, kind))
        for number, done in enumerate(many, 1):
            runs.append(done)
            print(
                f"{kind} {number}: exit code {done['exit_code']}, {done['last_line']}", flush=True
            )
            for failure in done["failures"]:
                print(f"    {failure}", flush=True)
            if options.json is not None:
                report = {
                    "command": " ".join(["python", *sys.argv]),
                    "python": platform.python_version(),
                    "cores": os.cpu_count(),
                    "green": sum(each["exit_code"] == 0 for each in runs),
                    "runs": runs,
                }
                options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    sys.exit(int(any(done["exit_code"] for done in runs)))


if __name__ == "__main__":
    main()
