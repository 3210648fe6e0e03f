"""Prints what a session on a GPU has found: its largest batches, its networks' convolutions.

    python benchmarks/cuda_summary.py cuda.json [--network vgg11]

The JSON is that of benchmarks/cuda_session.py. Measured values stand beside the simulation's, as
measured / simulated. Sizes are in MiB, a workspace is what cuDNN took for one convolution.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

# For machines where the package is not installed.
sys.path.insert(1, str(Path(__file__).resolve().parent.parent))

from cuda_experiments.convolutions import KINDS, rows_of
from tabulate import tabulate

if TYPE_CHECKING:
    from collections.abc import Iterable

_MIB = 1 << 20


def states(session: dict[str, Any]) -> list[list[Any]]:
    """Return for each experiment its number, title, status, facts and seconds."""
    return [
        [number, one["title"], one["status"], len(one["facts"]), one["seconds"]]
        for number, one in session["experiments"].items()
    ]


def batches(facts: dict[str, Any]) -> list[list[Any]]:
    """Return the rows of experiment 7: B, then the peaks at given batches."""
    rows = []
    for name, fact in facts.items():
        workload, _, rest = name.partition(", ")
        simulated = fact.get("simulated", {})
        if "B" in fact:
            known = simulated.get("B")
            rows.append([workload, "B", fact["B"], known, _share(fact["B"], known)])
        elif "error" in fact:
            rows.append([workload, fact["error"], None, None, None])
        elif rest.startswith("given batch"):
            for key in ("allocated_bytes", "reserved_bytes"):
                seen, known = fact[key], simulated.get(key)
                what = f"{rest.removeprefix('given ')}, {key.partition('_')[0]}"
                rows.append([workload, what, _mib(seen), _mib(known), _share(seen, known)])
            rows.append(
                [workload, f"{rest.removeprefix('given ')}, retries", fact["retries"],
                 simulated.get("retries"), None]
            )  # fmt: skip
    return rows


def networks(facts: dict[str, Any]) -> list[list[Any]]:
    """Return for each network its peak, and the count and largest workspace of each kind."""
    rows = []
    for name, fact in facts.items():
        if "error" in fact:
            rows.append([name, fact["error"]])
            continue
        seen = fact["peak_allocated_bytes"]
        known = fact.get("simulated", {}).get("peak_allocated_bytes")
        largest = dict.fromkeys(KINDS, 0)
        count = with_workspace = 0
        for row in rows_of(fact):
            count += row["count"]
            with_workspace += row["count"] * bool(row["workspace"])
            largest[row["kind"]] = max(largest[row["kind"]], row["workspace"])
        rows.append(
            [name, _mib(seen), _mib(known), _share(seen, known), count, with_workspace]
            + [_mib(largest[kind]) for kind in KINDS]
        )
    return rows


def convolutions(facts: dict[str, Any], network: str) -> list[list[Any]]:
    """Return each convolution of a network, dtype and batch, with the bytes of its workspace."""
    return [
        [row["kind"], row["dtype"], _by(row["input"]), _by(row["weight"]), _by(row["stride"]),
         row["groups"], "/".join(row["formats"]), row["backend"], row["count"], row["workspace"]]
        for name, fact in facts.items()
        if name.partition(", ")[0] == network
        for row in rows_of(fact)
    ]  # fmt: skip


def _whose(session: dict[str, Any]) -> str:
    return session.get("compared_with") or "nothing"


def _mib(num_bytes: int | None) -> float | None:
    return None if num_bytes is None else round(num_bytes / _MIB, 1)


def _share(seen: int | None, known: int | None) -> float | None:
    return round(seen / known, 4) if seen and known else None


def _by(sizes: Iterable[int]) -> str:
    return "x".join(map(str, sizes))


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; exit code 1 where the file has no experiment."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("json", type=Path)
    parser.add_argument("--network", help="show each convolution of this network instead")
    options = parser.parse_args(arguments)
    session = json.loads(options.json.read_text(encoding="utf-8"))
    facts = {number: one["facts"] for number, one in session["experiments"].items()}
    watched = facts.get("11", {}) | facts.get("12", {}) | facts.get("13", {})
    if options.network:
        heads = ["kind", "dtype", "input", "weight", "stride", "groups", "formats", "backend",
                 "count", "workspace bytes"]  # fmt: skip
        rows = convolutions(watched, options.network)
        print(tabulate(rows, heads))
        return int(not rows)
    print(f"{session['gpu']}, torch {session['torch']}; compared with {_whose(session)}\n")
    print(tabulate(states(session), ["", "experiment", "status", "facts", "s"]))
    if rows := batches(facts.get("7", {})):
        heads = ["workload", "", "measured", "simulated", "share"]
        print("\n" + tabulate(rows, heads))
    if rows := networks(watched):
        heads = ["network", "peak", "simulated", "share", "convolutions", "with workspace",
                 *(f"largest, {kind}" for kind in KINDS)]  # fmt: skip
        print("\n" + tabulate(rows, heads))
    return int(not session["experiments"])


if __name__ == "__main__":
    sys.exit(main())
