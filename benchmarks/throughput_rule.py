"""Measures the choice of a batch by its speed on simulated machines.

    python benchmarks/throughput_rule.py [--runs N] [--json PATH]

Five curves of samples/s against the batch size, each with four kinds of noise: how often two runs
agree, without a lock and with one; how much slower than the best the chosen size truly is; and how
many probes are timed. The curves and the noise are those of the tests.

Bars: with the noise of a probe up to 5% no choice is truly slower than the best by more than the
floor and twice that noise; with disturbed probes at most one choice of a hundred is slower by 20%.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from speed_curves import CURVES, NOISES, chance, run

from harness.throughput import candidates
from harness.throughput.choice import FLOOR

SIZES = candidates(1, 500, 1)
_FAR = 0.2


def measured(curve: str, noise: str, runs: int) -> dict[str, Any]:
    """Return what `runs` choices on a curve with a noise are."""
    speed, random = CURVES[curve], chance(1)
    fastest = max(map(speed, SIZES))
    chosen: list[int] = []
    stayed = 0
    probes: list[int] = []
    for _ in range(runs):
        choice, rounds = run(SIZES, speed, NOISES[noise], random)
        chosen.append(choice.batch_size)
        probes.append(sum(len(rounds.of(size)) for size in SIZES))
        again, _ = run(SIZES, speed, NOISES[noise], random, choice.batch_size)
        stayed += again.batch_size == choice.batch_size
    slower = sorted(1 - speed(size) / fastest for size in chosen)
    return {
        "curve": curve,
        "noise": noise,
        "agree": sum((number / runs) ** 2 for number in Counter(chosen).values()),
        "agree_with_lock": stayed / runs,
        "slower_median": median(slower),
        "slower_most": slower[-1],
        "far_slower": sum(one >= _FAR for one in slower) / runs,
        "probes_median": median(probes),
        "probes_most": max(probes),
        "chosen": dict(Counter(chosen).most_common()),
    }


def main() -> int:
    """Print the table, and return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [measured(curve, noise, options.runs) for curve in CURVES for noise in NOISES]
    shown = [{key: value for key, value in row.items() if key != "chosen"} for row in rows]
    print(tabulate(shown, headers="keys", floatfmt=".3f"))
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    missed = [
        row
        for row in rows
        if (
            row["far_slower"] > 0.01
            if row["noise"] == "disturbed"
            else row["slower_most"] > FLOOR + 2 * NOISES[row["noise"]].probe
        )
    ]
    for row in missed:
        print(f"missed: {row['curve']}, {row['noise']}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
