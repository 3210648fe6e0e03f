"""Measures the time of the main job, `pytest --gpu-profile` on the reference matrix.

    python benchmarks/main_job.py [--json PATH]

Installation is left out. The exit code is 1 when the job fails or takes longer than the bar.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tabulate import tabulate

ROOT = Path(__file__).parent.parent
BAR_SECONDS = 240.0


def main() -> None:
    """Run the job once as CI does, and compare its time with the bar."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    started = time.perf_counter()
    code = subprocess.run(
        [sys.executable, "-m", "pytest", "--gpu-profile"], cwd=ROOT, check=False
    ).returncode
    seconds = time.perf_counter() - started
    report = json.loads((ROOT / ".gpu-profile" / "report.json").read_text(encoding="utf-8"))
    result = {
        "seconds": round(seconds, 1),
        "exit_code": code,
        "num_cases": len(report["cases"]),
        "num_probes": sum(len(case["probes"]) for case in report["cases"]),
        "num_cores": os.cpu_count(),
        "command": "python benchmarks/main_job.py",
    }
    met = code == 0 and seconds <= BAR_SECONDS
    print(
        tabulate(
            [("main job", f"{seconds:.0f} s", f"{BAR_SECONDS:.0f} s", "ok" if met else "missed")],
            ("what", "measured", "bar", ""),
        )
    )
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    sys.exit(not met)


if __name__ == "__main__":
    main()
