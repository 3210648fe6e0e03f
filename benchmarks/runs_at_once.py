"""Starts two runs at once on simulated GPUs, again and again: whether two cases share a GPU.

    python benchmarks/runs_at_once.py [--times 20] [--gpus 4] [--cases 6] [--json PATH]

Each run is `pytest --gpu-profile -n auto`, with a worker for each GPU, in a project of its own. In
each forward pass of a probe the network looks into the file of the simulated world, in which every
process that uses a GPU is listed, and writes down when it ran, on which GPU, and how many processes
of other cases were there. The exit code is 1 when a pass saw one, when the passes of two cases came
in turn on one GPU, or when a run failed. It needs the environment of the simulated GPU's tests.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from gpu_users import at_once, looks, overlaps, short_cases
from simulated_worlds import h100
from warm_zygotes import WarmZygotes

from harness.simulated.world import World


def pair(folder: Path, num_gpus: int, num_cases: int, zygotes: WarmZygotes) -> dict[str, Any]:
    """Run two projects at once in a new world, and sum up what their probes saw."""
    record = folder / "record"
    projects = [short_cases(folder / name, num_cases, record) for name in ("one", "two")]
    world = World.create(folder / "world", [h100()] * num_gpus)
    begun = time.perf_counter()
    runs = at_once(projects, world, "-n", "auto", "--gpu-profile-update", zygotes=zygotes)
    seen = looks(record)
    used = Counter({one.gpu: 0 for one in seen})
    used.update(gpu for gpu, _ in {(one.gpu, one.session) for one in seen})
    return {
        "exit_codes": [code for code, _ in runs],
        "seconds": round(time.perf_counter() - begun, 1),
        "passes": len(seen),
        "cases": len({one.session for one in seen}),
        "cases_per_gpu": [used[gpu] for gpu in sorted(used)],
        "passes_beside_others": sum(one.strangers > 0 for one in seen),
        "passes_in_turn": len(list(overlaps(seen))),
    }


def main() -> None:
    """Print a line and write the JSON after each pair: the machine may end before the last."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=20, metavar="N")
    parser.add_argument("--gpus", type=int, default=4, metavar="N")
    parser.add_argument("--cases", type=int, default=6, metavar="N", help="of each run")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    pairs: list[dict[str, Any]] = []
    with WarmZygotes() as zygotes:
        for number in range(options.times):
            with tempfile.TemporaryDirectory() as folder:
                found = pair(Path(folder), options.gpus, options.cases, zygotes)
            good = (
                found["exit_codes"] == [0, 0]
                and found["cases"] == 2 * options.cases
                and not found["passes_beside_others"]
                and not found["passes_in_turn"]
            )
            pairs.append({"good": good, **found})
            print(f"{number + 1:3} {'good' if good else 'BAD':4} {found}", flush=True)
            summary = {
                "gpus": options.gpus,
                "cases_of_each_run": options.cases,
                "good": sum(one["good"] for one in pairs),
                "pairs": pairs,
            }
            if options.json:
                options.json.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(f"{summary['good']} of {options.times} pairs never shared a GPU")
    sys.exit(summary["good"] < options.times)


if __name__ == "__main__":
    main()
