"""Answers the questions of a probe for a workload that is a command."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness.commands import endings, ranks
from harness.commands.inside.reports import REQUEST, path_of, read_all
from harness.commands.program import run, words_at
from harness.errors import WorkloadError
from harness.identity.fingerprint import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.commands.endings import Told
    from harness.commands.inside.reports import Report
    from harness.protocol.case import BoundSpec
    from harness.protocol.messages import (
        DescribeRequest,
        DescribeResult,
        Failure,
        MemoryFacts,
        TellPhase,
        TrainRequest,
        TrainResult,
    )

# A program that goes on is ended after this many times the steps that are asked for.
_TIMES = 10
_FACTS = ("peak_allocated_bytes", "non_torch_bytes", "alloc_retries")


def train(words: Sequence[str], request: TrainRequest, tell: TellPhase) -> TrainResult:
    """Run a command at one batch size and return the outcome.

    A scout is ended as soon as it has its steps: its size only shows where to go on.
    """
    steps, batch_size = request["steps"], request["batch_size"]
    told = _run(
        words,
        batch_size,
        request["bound"],
        steps=steps,
        stop_after=_TIMES * steps if request["settle"] else steps,
        num_ranks=(num_ranks := _num_ranks(request)),
        history=request["history"],
        snapshot=request["snapshot"],
    )
    if told.phase is not None:
        tell(told.phase)
    report = told.report
    notes = []
    if report.flag("stopped") and request["settle"]:
        notes.append(
            f"the command goes on after {_TIMES * steps} optimizer steps, so each probe ended it "
            f"there: give it fewer, at least the {steps} of search.steps_per_trial, for shorter "
            "probes"
        )
    return {
        "outcome": told.outcome,
        "detail": told.detail,
        "traceback": told.traceback,
        "batch_size": batch_size,
        "peak_memory_bytes": report.number("peak"),
        **_facts(report.mapping("memory")),
        "memory_limit_bytes": report.number("limit"),
        "samples": report.number("steps") * batch_size * num_ranks,
        "steps": report.number("steps"),
        # The samples of a step are not known: a program may accumulate several batches.
        "samples_per_second": None,
        "growing": report.flag("growing"),
        "growth": None,
        "above_limit": told.above_limit,
        "finite_loss": True,
        "notes": notes,
        "values_read": None,
        "rank": None if num_ranks == 1 else report.get("rank"),
    }


def describe(words: Sequence[str], request: DescribeRequest) -> DescribeResult | Failure:
    """Run a command for one step, and describe what it trains."""
    told = _run(
        words,
        request["batch_size"],
        request["bound"],
        steps=1,
        stop_after=1,
        num_ranks=_num_ranks(request),
    )
    outcome, report = told.outcome, told.report
    # Whether a smaller batch fits is a question of the search.
    if outcome != "fits" and outcome != "oom":  # noqa: PLR1714 - mypy reads it
        detail = f"its command fails at batch {request.get('batch_size', 1)}: {told.detail}"
        return {"outcome": outcome, "detail": detail, "traceback": told.traceback}
    known = report.mapping("workload")
    workload: dict[str, Any] = {
        name: known[name]
        for name, kind in (
            ("optimizer", str),
            ("num_parameters", int),
            ("num_tensors", int),
            ("parameters", str),
        )
        if isinstance(known.get(name), kind)
    }
    versions = report.mapping("versions")
    return {
        "outcome": "fits",
        "workload": workload,
        "fingerprint": fingerprint(workload),
        "num_samples": None,
        "num_validation_samples": None,
        "validation": False,
        "synthetic": False,
        "num_workers": 0,
        "torch_settings": {},
        "memory_limit_bytes": report.number("limit"),
        # Files that a program reads, and code in other languages, are not known.
        "sources": None,
        "versions": {name: one for name, one in versions.items() if isinstance(one, str)},
    }


def _run(
    words: Sequence[str],
    batch_size: int,
    bound: BoundSpec,
    *,
    steps: int,
    stop_after: int,
    num_ranks: int,
    history: str | None = None,
    snapshot: str | None = None,
) -> Told:
    """Run a command at a batch size, and tell how it ended."""
    asked = {
        "bound": bound,
        "batch_size": batch_size,
        "stop_after": stop_after,
        "num_ranks": num_ranks,
        "history": history,
        "snapshot": snapshot,
    }
    with tempfile.TemporaryDirectory(prefix="command-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / REQUEST).write_text(json.dumps(asked), encoding="utf-8")
        try:
            over = None if num_ranks == 1 else ranks.when_one_fails(lambda: read_all(folder))
            ended = run(words_at(words, batch_size), folder, over)
        except WorkloadError as error:
            return endings.not_started(str(error))
        seen = endings.Seen(
            ended,
            read_all(folder),
            python=(folder / "python").exists(),
            broken=_text(folder / "broken"),
            num_ranks=num_ranks,
        )
    told = endings.tell(seen, batch_size, steps, bound["accelerator"])
    for wanted in (history, snapshot):
        if wanted is not None and num_ranks > 1:
            _keep_file(Path(wanted), seen.reports, told.report)
    return told


def _keep_file(path: Path, reports: Sequence[Report], told: Report) -> None:
    """Give the file of one rank the name that was asked for, and remove those of the others."""
    for report in reports:
        own = path_of(path, report.number("pid"))
        with suppress(OSError):
            if report.get("pid") == told.get("pid"):
                own.replace(path)
            else:
                own.unlink()


def _num_ranks(request: TrainRequest | DescribeRequest) -> int:
    """Return the number of ranks that a command starts."""
    return int(request["trainer"].get("devices", 1))


def _text(path: Path) -> str | None:
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")[:1000]
    return None


def _facts(told: dict[str, Any]) -> MemoryFacts:
    facts = {name: told[name] for name in _FACTS if type(told.get(name)) is int}
    return cast("MemoryFacts", facts)
