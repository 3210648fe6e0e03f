"""Compares the learning-rate rule with two rules in common use, on recorded sweeps.

    python benchmarks/lr_rule.py lr_sweeps.json [--json benchmarks/results/lr_rule.json]

For each configuration (task, optimizer, batch size) the data hold LR sweeps with 5 seeds and an
oracle: the final loss of training at a constant learning rate, on a grid of half decades. *Regret*
at a learning rate is (loss - best) / (initial loss - best). It is computed for each seed of the
oracle, averaged, and interpolated linearly in the log of the learning rate: 0 is the best on the
grid, and 1 means that nothing was learned. A training without a finite final loss counts as 1.
*Spread* is the largest suggestion over the smallest, among those of all choices of 3 seeds. The
exit code is 1 when the rule misses a bar.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from bisect import bisect_right
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import TYPE_CHECKING, Any

from harness.lr_range.ratio import log_median
from harness.lr_range.suggestion import geometric_sweep, suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Rule = Callable[[Sequence[float], Sequence["Losses"]], float | None]

Losses = list[float | None]
Rows = dict[str, dict[str, float | None]]
"""Per configuration: learning_rate, regret and spread; None where the rule refuses."""

_BARS = {"median": 0.010, "p90": 0.15, "accepted": 13, "spread": 1.45}
_JUDGED = "C"
_NUM_SEEDS = 3


def regret(oracle: Sequence[dict[str, Any]], learning_rate: float) -> float:
    """Return the part of the achievable drop that is lost at `learning_rate`.

    Outside of the grid the regret is that of its nearest end.
    """
    regrets: dict[float, list[float]] = {}
    for seed in sorted({run["seed"] for run in oracle}):
        runs = [run for run in oracle if run["seed"] == seed]
        best = min(run["final_loss"] for run in runs if run["final_loss"] is not None)
        for run in runs:
            initial, final = run["initial_loss"], run["final_loss"]
            lost = 1.0 if final is None else (final - best) / (initial - best)
            regrets.setdefault(run["lr"], []).append(lost)
    grid = sorted(regrets)
    right = min(max(bisect_right(grid, learning_rate), 1), len(grid) - 1)
    low, high = grid[right - 1], grid[right]
    part = min(max(math.log(learning_rate / low) / math.log(high / low), 0.0), 1.0)
    return (1 - part) * fmean(regrets[low]) + part * fmean(regrets[high])


def drop_rule(learning_rates: Sequence[float], losses_per_seed: Sequence[Losses]) -> float | None:
    """Return the suggestion of this package."""
    return suggest(learning_rates, losses_per_seed).learning_rate


def _moving_average(losses: Losses, bias_exponent: int) -> list[float]:
    """Return the exponential averages of losses, with decay 0.98.

    Both finders stop where an average exceeds 4 times the best so far, and so does this. The bias
    of step i is corrected with the exponent i + `bias_exponent`: 1 is exact, and Lightning uses 2.
    """
    average, best, smoothed = 0.0, math.inf, []
    for step, loss in enumerate(losses):
        average = 0.98 * average + 0.02 * (math.nan if loss is None else loss)
        value = average / (1 - 0.98 ** (step + bias_exponent))
        smoothed.append(value)
        if not value <= 4 * best and step > 0:
            break
        best = min(best, value)
    return smoothed


def lightning_rule(learning_rates: Sequence[float], losses: Losses) -> float | None:
    """Return the suggestion of Lightning 2.6: the steepest descent by the *linear* rate."""
    smoothed = _moving_average(losses, 2)
    points = [
        (rate, loss)
        for rate, loss in list(zip(learning_rates, smoothed, strict=False))[10:-1]
        if math.isfinite(loss)
    ]
    if len(points) < 2:
        return None
    slopes = [(points[1][1] - points[0][1]) / (points[1][0] - points[0][0])]
    for (x0, y0), (x1, y1), (x2, y2) in zip(points, points[1:], points[2:], strict=False):
        left, right = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
        # The second-order difference on an uneven grid weighs each side by the width of the other.
        slopes.append((left * (x2 - x1) + right * (x1 - x0)) / (x2 - x0))
    slopes.append((points[-1][1] - points[-2][1]) / (points[-1][0] - points[-2][0]))
    return points[slopes.index(min(slopes))][0]


def valley_rule(learning_rates: Sequence[float], losses: Losses) -> float | None:
    """Return the suggestion of fastai's `valley`.

    It lies half way along the longest sequence of ever smaller smoothed losses.
    """
    smoothed = _moving_average(losses, 1)[len(learning_rates) // 10 : -5]
    if not smoothed:
        return None
    longest = [1] * len(smoothed)
    for step, loss in enumerate(smoothed):
        longest[step] += max((longest[i] for i in range(step) if loss < smoothed[i]), default=0)
    length = max(longest)
    start = longest.index(length) - length
    middle = start + length // 3 + length // 6
    return learning_rates[len(learning_rates) // 10 + max(middle, 0)]


def _over_seeds(rule: Callable[[Sequence[float], Losses], float | None]) -> Rule:
    def over_seeds(
        learning_rates: Sequence[float], losses_per_seed: Sequence[Losses]
    ) -> float | None:
        rates = [rule(learning_rates, losses) for losses in losses_per_seed]
        return log_median([rate for rate in rates if rate is not None]) if any(rates) else None

    return over_seeds


_RULES: dict[str, Rule] = {
    "75% of the drop": drop_rule,
    "Lightning 2.6": _over_seeds(lightning_rule),
    "fastai valley": _over_seeds(valley_rule),
}


def evaluate(configurations: dict[str, Any], sweep: str, rule: Rule) -> Rows:
    """Return learning rate, regret and spread of a rule for each configuration, None if refused."""
    rows: Rows = {}
    for name, configuration in configurations.items():
        recorded = configuration["sweeps"][sweep]
        rates = geometric_sweep(recorded["lr_min"], recorded["lr_max"], recorded["num_training"])
        seeds = recorded["losses_per_seed"]
        rate = rule(rates, seeds[:_NUM_SEEDS])
        choices = [
            rule(rates, list(chosen)) for chosen in itertools.combinations(seeds, _NUM_SEEDS)
        ]
        given = [choice for choice in choices if choice is not None]
        rows[name] = {
            "learning_rate": rate and float(f"{rate:.4g}"),
            "regret": rate and round(regret(configuration["oracle_constant_lr"], rate), 4),
            "spread": round(max(given) / min(given), 3) if given else None,
        }
    return rows


def summarise(rows: Rows, names: Sequence[str]) -> dict[str, float]:
    """Return median, 90th percentile and worst of the regret, and the worst spread, of `names`."""
    regrets = [value for name in names if (value := rows[name]["regret"]) is not None]
    spreads = [value for name in names if (value := rows[name]["spread"]) is not None]
    return {
        "accepted": len(regrets),
        "median": round(median(regrets), 4),
        "p90": round(quantiles(regrets, n=10, method="inclusive")[-1], 4),
        "worst": max(regrets),
        "spread": max(spreads),
    }


def _print_configurations(rows_by_rule: dict[str, Rows]) -> None:
    print(f"{'LR (regret)':<24}" + "".join(f"{rule:>24}" for rule in rows_by_rule))
    for name in next(iter(rows_by_rule.values())):
        cells = []
        for rows in rows_by_rule.values():
            rate, lost = rows[name]["learning_rate"], rows[name]["regret"]
            cells.append("refused" if rate is None else f"{rate:.3g} ({lost:.3f})")
        print(f"{name:<24}" + "".join(f"{cell:>24}" for cell in cells))
    print()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables, write JSON under `--json`, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", type=Path, help="the recorded sweeps (JSON)")
    parser.add_argument("--json", type=Path, help="where to write the result")
    options = parser.parse_args(arguments)
    configurations = json.loads(options.data.read_text())
    result: dict[str, Any] = {
        "data": options.data.name,
        "configurations": len(configurations),
        "sweeps": {},
    }
    print(
        f"{'sweep':<6}{'rule':<20}{'accepted':>10}{'median':>9}{'p90':>9}{'worst':>9}{'spread':>9}"
    )
    rows_by_rule = {}
    for sweep in ("C", "B", "A"):
        evaluated = {name: evaluate(configurations, sweep, rule) for name, rule in _RULES.items()}
        own = evaluated["75% of the drop"]
        # The other rules never refuse, so all are compared where this one gives a number.
        names = [name for name, row in own.items() if row["learning_rate"] is not None]
        summaries = {rule: summarise(rows, names) for rule, rows in evaluated.items()}
        for rule, figures in summaries.items():
            print(
                f"{sweep:<6}{rule:<20}{figures['accepted']:>10.0f}{figures['median']:>9.3f}"
                f"{figures['p90']:>9.3f}{figures['worst']:>9.3f}{figures['spread']:>9.2f}"
            )
        result["sweeps"][sweep] = {"summary": summaries, "75% of the drop": own}
        rows_by_rule[sweep] = evaluated
    print()
    _print_configurations(rows_by_rule[_JUDGED])
    figures = result["sweeps"][_JUDGED]["summary"]["75% of the drop"]
    missed = [bar for bar in ("median", "p90", "spread") if figures[bar] > _BARS[bar]]
    if figures["accepted"] < _BARS["accepted"]:
        missed.append("accepted")
    result |= {"bars": _BARS, "missed": missed}
    print(f"bars {_BARS} on sweep {_JUDGED}: {'missed: ' + ', '.join(missed) if missed else 'met'}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
