"""Judges the learning-rate range test by oracles, beside other learning rate finders.

    python benchmarks/lr_rule.py lr_sweeps.json [--cache FOLDER] [--step-law dense_lr_bs_loss.csv]
        [--json benchmarks/results/lr_rule.json] [--plot benchmarks/results/lr_rule.png]

*Regret* at a learning rate is (loss - best) / (initial loss - best) after 200 steps at that rate,
of seeds that the rules never saw: 0 is the best rate of a grid, and 1 means that nothing was
learned. *Spread* is the largest suggestion over the smallest, among those of all choices of 3 of 6
seeds. Five things are judged:

- the range test on small trainings, with an oracle in quarter decades for each (half an hour on
  one core; --cache keeps the losses, and the rules are replayed on them);
- how far its suggestion moves with `num_training`, beside the 75% point of sweeps as long as that;
- the range test, and rules for sweeps, on recorded sweeps (the file of sweeps);
- each `lr_range.strategy` in each of its `stages`, on both;
- how wide the range of good rates is in Step Law's published losses (--step-law), beside the width
  that a lock allows.

The exit code is 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from learning_rates.judged import BUDGETS, Judged, judge
from learning_rates.picture import draw
from learning_rates.recorded import WHOLE, judge_recorded
from learning_rates.step_law import judge_step_law
from learning_rates.strategies import judge_strategies, strategies_table
from learning_rates.tasks import TASKS
from tabulate import tabulate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from learning_rates.oracles import Oracle

BARS = {
    "recorded median regret": 0.008,
    "recorded p90 regret": 0.125,
    "recorded accepted": 14,
    "median factor by num_training": 1.3,
    "median spread": 1.25,
    "worst fine-tuning regret": 0.05,
}
"""At most these; `accepted` is at least that."""


def judge_tasks(names: Sequence[str], cache: Path) -> dict[str, tuple[Judged, Oracle]]:
    """Judge the small trainings, and say of each how far it is."""
    judged = {}
    for name in names:
        judged[name] = judge(name, TASKS[name], cache)
        print(f"{name}: {judged[name][0].own}", file=sys.stderr, flush=True)
    return judged


def summarise(rows: Mapping[str, Judged], recorded: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers that have bars, and what else sums the tasks up."""
    summary = recorded["summary"][WHOLE]
    regrets = [_refused_is_1(row.median_regret) for row in rows.values()]
    tuned = [
        _refused_is_1(row.median_regret) for name, row in rows.items() if TASKS[name].fine_tuned
    ]
    return {
        "recorded median regret": summary["median"],
        "recorded p90 regret": summary["p90"],
        "recorded accepted": summary["accepted"],
        "median factor by num_training": _median([row.by_budget for row in rows.values()]),
        "worst factor by num_training": _worst([row.by_budget for row in rows.values()]),
        "tasks with a rate for each num_training": sum(
            _given(row) == len(BUDGETS) for row in rows.values()
        ),
        "median factor by the steps of sweeps": _median(
            [row.sweeps_by_budget for row in rows.values()]
        ),
        "median spread": _median([row.spread for row in rows.values()]),
        "worst spread": _worst([row.spread for row in rows.values()]),
        "median regret": round(median(regrets), 4),
        "worst regret": max(regrets),
        "worst fine-tuning regret": max(tuned),
        "refused": sum(row.refused for row in rows.values()),
        "choices": sum(row.choices for row in rows.values()),
        "median steps": median(row.steps for row in rows.values()),
    }


def summarise_rules(rows: Mapping[str, Judged]) -> dict[str, dict[str, float]]:
    """Return for each rule how many tasks it has a rate for, and the regret of these rates."""
    columns = {WHOLE: [row.own for row in rows.values()]}
    for peer in next(iter(rows.values())).peers:
        columns[peer] = [row.peers[peer] for row in rows.values()]
    summaries = {}
    for rule, column in columns.items():
        regrets = [one.regret for one in column if one.regret is not None]
        summaries[rule] = {
            "given": len(regrets),
            "median": round(median(regrets), 4),
            "worst": max(regrets),
        }
    return summaries


def missed(figures: Mapping[str, float]) -> list[str]:
    """Return the bars that are missed."""
    return [
        name
        for name, bar in BARS.items()
        if (figures[name] < bar if name == "recorded accepted" else not figures[name] <= bar)
    ]


def _given(row: Judged) -> int:
    """Return for how many `num_training` there is a suggestion."""
    return sum(rate is not None for rate in row.rate_by_budget.values())


def _refused_is_1(regret: float | None) -> float:
    return 1.0 if regret is None else regret


def _median(values: Sequence[float | None]) -> float:
    return round(median(value for value in values if value is not None), 3)


def _worst(values: Sequence[float | None]) -> float:
    return max(value for value in values if value is not None)


def _own_table(rows: Mapping[str, Judged]) -> str:
    body = []
    for name, row in rows.items():
        rate = row.own.learning_rate
        low, high = row.range or (None, None)
        body.append(
            (
                name,
                f"{row.best:.2g}",
                "refused" if rate is None else f"{rate:.2g}",
                "" if low is None else f"{low:.2g} - {high:.2g}",
                row.horizon,
                row.median_regret,
                row.spread,
                f"{row.by_budget or '-'} ({_given(row)}/{len(BUDGETS)})",
                row.sweeps_by_budget,
                row.steps,
                row.seeds,
                f"{row.refused}/{row.choices}",
            )
        )
    headers = (
        "task, optimizer, batch",
        "best",
        "suggestion",
        "range",
        "horizon",
        "regret",
        "spread",
        "by steps",
        "sweeps'",
        "steps",
        "seeds",
        "refused",
    )
    return tabulate(body, headers, tablefmt="github")


def _peers_table(rows: Mapping[str, Judged]) -> str:
    peers = list(next(iter(rows.values())).peers)
    body = [
        (name, _cell(row.own), *(_cell(row.peers[peer]) for peer in peers))
        for name, row in rows.items()
    ]
    sums = summarise_rules(rows).values()
    body.append(("tasks with a rate", *(str(one["given"]) for one in sums)))
    body.append(("median regret of these", *(f"{one['median']:.3f}" for one in sums)))
    body.append(("worst regret of these", *(f"{one['worst']:.3f}" for one in sums)))
    return tabulate(body, ("rate (regret)", WHOLE, *peers), tablefmt="github")


def _cell(rated: Any) -> str:
    if rated.learning_rate is None:
        return "refused"
    return f"{rated.learning_rate:.2g} ({rated.regret:.3f})"


def _recorded_table(recorded: Mapping[str, Any]) -> str:
    rows = [(rule, *figures.values()) for rule, figures in recorded["summary"].items()]
    return tabulate(
        rows, ("recorded sweeps", "accepted", "median", "p90", "worst", "spread"), tablefmt="github"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables, write JSON under `--json`, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", type=Path, help="the recorded sweeps (JSON)")
    parser.add_argument("--cache", type=Path, help="a folder that keeps the losses of the tasks")
    parser.add_argument("--step-law", type=Path, help="the losses that Step Law's authors publish")
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--plot", type=Path, help="where to draw the oracles")
    options = parser.parse_args(arguments)
    # A thread for these sizes is enough, and results do not depend on the machine's number.
    torch.set_num_threads(1)
    configurations = json.loads(options.data.read_text())
    with tempfile.TemporaryDirectory() as temporary:
        cache = options.cache or Path(temporary)
        judged = judge_tasks(list(TASKS), cache)
        strategies = judge_strategies(cache, configurations)
    rows = {name: row for name, (row, _) in judged.items()}
    recorded = judge_recorded(configurations)
    figures = summarise(rows, recorded)
    failed = missed(figures)
    result: dict[str, Any] = {
        "environment": {
            "python": sys.version.split()[0],
            "torch": version("torch"),
            "scikit-learn": version("scikit-learn"),
        },
        "budgets": BUDGETS,
        "bars": BARS,
        "missed": failed,
        "figures": figures,
        "rules": summarise_rules(rows),
        "tasks": {
            name: asdict(row)
            | {"oracle": {f"{k:.3g}": round(v, 4) for k, v in oracle.regrets.items()}}
            for name, (row, oracle) in judged.items()
        },
        "strategies": strategies,
        "recorded": {"data": options.data.name, **recorded},
    }
    print(
        _own_table(rows),
        _peers_table(rows),
        _recorded_table(recorded),
        strategies_table(strategies),
        sep="\n\n",
    )
    if options.step_law:
        result["step_law"] = judge_step_law(options.step_law)
        print(f"\nStep Law: {result['step_law']}")
    print()
    for name, value in figures.items():
        bar = f", bar {BARS[name]}" if name in BARS else ""
        print(f"{name}: {value}{bar}{', MISSED' if name in failed else ''}")
    if options.plot:
        draw(judged, options.plot)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
