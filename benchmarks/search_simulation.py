"""Counts the probes and samples of searches on simulated memory curves.

There are 400 curves. Their maxima are log-uniform from 3 to 8000, batch size 0 uses 1% to 60% of
the limit, and limits are 1 to 141 GiB. These are the shapes:

affine      base + slope * B
noisy       affine; each reported peak is off by up to 0.3%, uniformly
rough       the memory itself is off the line by up to 0.3%, uniformly and independently for each B
kinked      flat up to 2% to 30% of the maximum, where the optimizer step has the peak, then affine,
            where the backward pass has it
stepped     affine, rounded up to allocator segments of 20 MiB
measured    curves measured on a bounded CPU (data/memory_curves.json), interpolated, with a ripple
            of half a sample, under a random limit: alexnet, resnet and vit of `profiles`, on images
            of 16 or 32 pixels, and the LSTM and GPT-2 of `exactness.py`
jagged      likewise the curve of the MLP of `exactness.py`: flat up to 128 samples, a jag, then
            steep

The searches are cold, aimed, warm, and doubling with bisection. An aimed search has no lock and
begins with a prediction of the maximum, which is off by up to 1% or 5%, uniformly. Doubling with
bisection is the method of Lightning's `binsearch`, without its faults and its cut of 5%.

A probe that runs out of memory counts as a third of its samples, because as a rule it completes one
of three steps. A scout counts as two thirds. The bars are for affine and measured curves, and the
exit code is 1 when one is missed there. The other shapes show the cost of trouble: noise near the
limit that hides the maximum among n sizes takes about log2(n) more probes in any exact search.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
from bisect import bisect_left
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from harness.search.search import search

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.measurement import Outcome
    from harness.search.search import Mode

NUM_CURVES = 400
SHAPES = ("affine", "noisy", "rough", "kinked", "stepped", "measured", "jagged")
GIB = 2**30
# The largest errors of predictions.
AIM_ERRORS = (0.01, 0.05)
SEGMENT_BYTES = 20 * 2**20
NOISE = 0.003
MAX_TRIALS = 60
# Limits for measured curves are drawn so that the maximum is at least this size.
SMALLEST_MEASURED = 12
# The share of its steps that a probe completes before it runs out of memory, and the share of a
# probe's steps that a scout takes.
OOM_SHARE = 1 / 3
SCOUTING_SHARE = 2 / 3
DATA = Path(__file__).parent / "data" / "memory_curves.json"
# Up to this maximum, one probe too many is a large share of all work.
TINY = 20
JUDGED = ("affine", "measured")
JAGGED = "mlp-16"
BARS = {"cold": (5, 8, 2.5), "warm": (2, 2, 2.1)}


@dataclass(frozen=True)
class Tried:
    """The result of a simulated probe."""

    outcome: Outcome
    peak_memory_bytes: int


@dataclass(frozen=True)
class Curve:
    """A memory curve under a limit, in bytes."""

    limit: int
    memory: Callable[[int], float]
    measured: Callable[[int], float]

    def probe(self, batch_size: int) -> Tried:
        """Try one batch size."""
        outcome: Outcome = "fits" if self.memory(batch_size) <= self.limit else "oom"
        return Tried(outcome, int(min(self.measured(batch_size), self.limit)))


@dataclass(frozen=True)
class Cost:
    """One search on one curve."""

    max_batch_size: int
    probes: int
    samples: float

    @property
    def work(self) -> float:
        """Samples processed per step in all probes, as a multiple of the maximum."""
        return self.samples / self.max_batch_size


@dataclass(frozen=True)
class Summary:
    """The cost of one kind of search over all curves of one shape."""

    shape: str
    search: str
    probes_median: float
    probes_p95: int
    probes_max: int
    probes_max_below_1000: int
    work_median: float
    work_p95_above_tiny: float
    within_bars: bool | None


def draw_curve(shape: str, seed: int) -> Curve:
    """Return the `seed`-th curve; all shapes share the maximum, the base and the limit."""
    draw = random.Random(seed)  # noqa: S311 - a simulation
    largest = round(3 * math.pow(8000 / 3, draw.random()))
    limit = draw.choice([1, 4, 24, 80, 141]) * GIB
    base = draw.uniform(0.01, 0.6) * limit
    slope = (limit - base) / (largest + draw.random())
    kink = draw.uniform(0.02, 0.3) * largest

    def line(size: int) -> float:
        return base + slope * size

    def noisy(size: int) -> float:
        return line(size) * (1 + NOISE * _noise(seed, size))

    def kinked(size: int) -> float:
        return base + slope * max(size, kink)

    def stepped(size: int) -> float:
        return math.ceil(line(size) / SEGMENT_BYTES) * SEGMENT_BYTES

    memory = {"affine": line, "noisy": line, "rough": noisy, "kinked": kinked, "stepped": stepped}[
        shape
    ]
    return Curve(limit, memory, noisy if shape == "noisy" else memory)


def draw_measured(curves: list[list[tuple[int, int]]], seed: int) -> Curve:
    """Return one of the measured curves under a random limit.

    curves: for each curve its points, which are batch sizes and peaks in bytes.
    """
    draw = random.Random(seed)  # noqa: S311 - a simulation
    points = curves[seed % len(curves)]
    sizes = [size for size, _ in points]
    slope = (points[-1][1] - points[-4][1]) / (points[-1][0] - points[-4][0])

    def memory(size: int) -> float:
        right = min(max(bisect_left(sizes, size), 1), len(sizes) - 1)
        (low, below), (high, above) = points[right - 1], points[right]
        ripple = 0.5 * slope * _noise(seed, size)
        return below + (above - below) * (size - low) / (high - low) + ripple

    limit = int(draw.uniform(memory(SMALLEST_MEASURED), memory(sizes[-1])))
    return Curve(limit, memory, memory)


def _noise(seed: int, size: int) -> float:
    """Return a number from -1 to 1 that is fixed for a curve and a batch size."""
    return random.Random(seed * 100_003 + size).uniform(-1, 1)  # noqa: S311 - a simulation


def cost(
    curve: Curve, mode: Mode, locked: int | None = None, aim: int | None = None
) -> Cost | None:
    """Return the cost of a search on one curve, or None when nothing fits."""
    samples = 0.0

    def run(size: int, share: float) -> Tried:
        nonlocal samples
        trial = curve.probe(size)
        samples += size * (share if trial.outcome == "fits" else OOM_SHARE)
        return trial

    result = search(
        lambda size: run(size, 1.0),
        scout=lambda size: run(size, SCOUTING_SHARE),
        mode=mode,
        memory_limit_bytes=curve.limit,
        locked=locked,
        aim=aim,
        max_trials=MAX_TRIALS,
    )
    if not result.max_batch_size:
        return None
    assert result.exact
    return Cost(result.max_batch_size, len(result.probes), samples)


def summarize(shape: str, name: str, costs: list[Cost]) -> Summary:
    """Return a row of the table: the costs as numbers, and whether they are within the bars."""
    probes = sorted(cost.probes for cost in costs)
    work = sorted(cost.work for cost in costs if cost.max_batch_size > TINY)
    median = statistics.median(probes)
    within = None
    if name in BARS:
        most_median, most, most_work = BARS[name]
        within = (
            median <= most_median and probes[-1] <= most and statistics.median(work) <= most_work
        )
    return Summary(
        shape,
        name,
        median,
        probes[int(0.95 * len(probes))],
        probes[-1],
        max(cost.probes for cost in costs if cost.max_batch_size <= 1000),
        round(statistics.median(cost.work for cost in costs), 2),
        round(work[int(0.95 * len(work))], 2),
        within,
    )


def simulate(shape: str) -> list[Summary]:
    """Search all curves of one shape with each kind of search."""
    aims = {f"aimed, {error:.0%} off": error for error in AIM_ERRORS}
    costs: dict[str, list[Cost]] = {name: [] for name in ("cold", *aims, "warm", "double, bisect")}
    by_name = json.loads(DATA.read_text(encoding="utf-8"))
    jagged = [by_name.pop(JAGGED)]
    curves = {"measured": list(by_name.values()), "jagged": jagged}
    for seed in range(NUM_CURVES):
        curve = draw_measured(curves[shape], seed) if shape in curves else draw_curve(shape, seed)
        cold = cost(curve, "exact")
        if cold is None:
            continue
        largest = cold.max_batch_size
        off = random.Random(seed).uniform(-1, 1)  # noqa: S311 - a simulation
        found = [
            cold,
            *(
                cost(curve, "exact", aim=max(round(largest * (1 + error * off)), 1))
                for error in aims.values()
            ),
            cost(curve, "exact", locked=largest),
            cost(curve, "binsearch"),
        ]
        for name, one in zip(costs, found, strict=True):
            assert one is not None
            costs[name].append(one)
    return [summarize(shape, name, of_name) for name, of_name in costs.items()]


def main() -> None:
    """Print the table, and write it as JSON under `--json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the results to this file")
    path: Path | None = parser.parse_args().json
    rows = [asdict(summary) for shape in SHAPES for summary in simulate(shape)]
    print(tabulate(rows, headers="keys", floatfmt="g"))
    print(
        f"work: samples processed per step in all probes / maximum; p95 over maxima above {TINY}."
    )
    print(
        "bars (probes median, probes max, work median): "
        + ", ".join(f"{k} {v}" for k, v in BARS.items())
    )
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        report = {"num_curves": NUM_CURVES, "noise": NOISE, "bars": BARS, "rows": rows}
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    missed = any(row["shape"] in JUDGED and row["within_bars"] is False for row in rows)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
