"""Why a case failed: what was locked and measured, what was allowed, the likely cause, the command to accept it."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.bounds import likely_causes
from harness.endings import WorkloadError
from harness.progress import describe_ending
from harness.report import words
from harness.report.growth import growth_block
from harness.report.table import align
from harness.report.tracebacks import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.bounds import Violation
    from harness.errors import HarnessError
    from harness.lockfile import LockedProfile
    from harness.measurement import Measurement, Probe
    from harness.result import CaseResult

_WIDTH = 80

Fact = tuple[str, str]
"""A label, empty when it is the one above, and its text."""


def failure_text(result: CaseResult, update_command: str) -> str:
    """Return why a measured case failed, at most 80 columns wide but for paths, commands and tracebacks.

    `update_command` is the command that locks what was measured; it is not offered when nothing trains.
    """
    measurement = result.measurement
    assert measurement is not None, "a case that was not measured has no bounds to break"
    title = textwrap.fill(
        f"{result.case_id}: {headline(result)}", _WIDTH, subsequent_indent="  ", break_on_hyphens=False
    )
    parts = [title]
    if measurement.max_batch_size == 0:
        parts += [_facts(_no_batch_facts(result, measurement)), *_own_error(measurement)]
        parts.append(_remedy_for_nothing(measurement))
    elif result.locked is None or words.baseline_of(result) is None:
        parts += [_facts(_found(measurement)), *_own_error(measurement)]
        parts.append(f"lock these values with:\n  {update_command}")
    else:
        parts += [_comparison(measurement, result.locked, result.violations)]
        parts += [_facts(_circumstances(result, measurement, result.locked)), *_own_error(measurement)]
        parts += filter(None, [growth_block(measurement, result.locked)])
        parts.append(f"accept what was {measurement.source} with:\n  {update_command}")
    return "\n\n".join(parts)


def error_text(name: str, error: HarnessError, *, predicting: bool = False) -> str:
    """Return why a case could not be measured, or predicted: the machine was in the way, or the workload cannot be built.

    `name` is the test's, with the case in brackets. The user's traceback follows where there is one, then where the
    log is, if the message does not say it, and how to try the workload alone.
    """
    parts = [f"{name}: {error}"]
    if isinstance(error, WorkloadError):
        if error.detail:
            parts.append(shorten(error.detail))
        if error.log and error.log not in str(error):
            parts.append(f"log: {error.log}")
        if case_id := name.partition("[")[2].removesuffix("]"):
            parts.append(_predict_alone(case_id) if predicting else _try_alone(case_id, 1))
    return "\n\n".join(parts)


def headline(result: CaseResult) -> str:
    """Return in one line what is wrong with a case."""
    measurement = result.measurement
    if measurement is None or not result.violations:
        return (result.reason or result.status).partition("\n")[0]
    if measurement.max_batch_size == 0:
        smallest = _smallest_failure(measurement)
        return "no batch size trains" + (f": {describe_ending(smallest)}" if smallest else "")
    return "; ".join(_headline(violation, measurement, result.locked) for violation in result.violations)


def _headline(violation: Violation, measurement: Measurement, locked: LockedProfile | None) -> str:
    here = words.place(measurement.device, {})
    text = {
        "missing": f"{violation.message} on {here}" if locked else f"never locked on {here}",
        "fingerprint": "the lock is stale: the workload changed",
        "recipe": "the lock is stale: the recipe changed",
    }.get(violation.bound, violation.message)
    if violation.bound == "predicted_batch_size":
        assert isinstance(violation.locked, int), "a prediction fell from a locked one"
        change = words.relative_change(measurement.max_batch_size, violation.locked)
        text = f"predicted max batch {violation.measured} ({change}) where {violation.locked} is locked"
    elif violation.bound == "batch_size":
        assert isinstance(violation.locked, int), "a batch size fell from a locked one"
        change = words.relative_change(measurement.max_batch_size, violation.locked)
        text = f"max batch {violation.measured} ({change}) where at least {violation.allowed} is allowed"
    elif violation.bound == "learning_rate" and violation.measured is None:
        text = f"no learning rate where {violation.locked:.3g} is locked"
    elif violation.bound == "learning_rate":
        text = f"learning rate {violation.measured:.3g} where {violation.allowed} is allowed"
    return text


def _comparison(measurement: Measurement, locked: LockedProfile, violations: Iterable[Violation]) -> str:
    """Return locked, measured and allowed values as a table; allowed only where it was broken."""
    allowed = {violation.bound: str(violation.allowed) for violation in violations}
    if measurement.source == "predicted":
        rows = [_batch_row("predicted_batch_size", locked.predicted_batch_size, measurement, allowed)]
    else:
        rate = _rate(locked.learning_rate, locked.lr_refusal)
        now = _rate(measurement.learning_rate, measurement.lr_refusal)
        rows = [
            _batch_row("batch_size", locked.max_batch_size, measurement, allowed),
            ("learning rate", rate, now, allowed.get("learning_rate", "")),
        ]
    has_limits = any(row[3] for row in rows)
    width = 4 if has_limits else 3
    table = align(
        [row[:width] for row in (("", "locked", measurement.source, "allowed"), *rows)], ["left"] * width
    )
    return textwrap.indent(table, "  ")


def _batch_row(
    bound: str, locked: int | None, measurement: Measurement, allowed: Mapping[str, str]
) -> tuple[str, str, str, str]:
    limit = f"at least {allowed[bound]}" if bound in allowed else ""
    return ("max batch", str(locked), str(measurement.max_batch_size), limit)


def _circumstances(result: CaseResult, measurement: Measurement, locked: LockedProfile) -> list[Fact]:
    predicted = measurement.source == "predicted"
    then = words.place(locked.device, locked.predicted_with if predicted else locked.made_with)
    now = words.place(measurement.device, measurement.made_with)
    verb = "predicted for" if predicted else "measured on"
    facts = [("locked on", then), (verb, now)] if then != now else [(verb.split()[1], now)]
    facts.append(("peak memory", f"{words.peak_of_limit(measurement)} at batch {measurement.max_batch_size}"))
    facts += _boundary(measurement)
    if (
        not predicted
        and measurement.learning_rate is None
        and locked.learning_rate is not None
        and measurement.lr_refusal
    ):
        facts.append(("LR refused", measurement.lr_refusal))
    if any(violation.bound == "learning_rate" for violation in result.violations) and measurement.artifacts:
        facts.append(("LR curve", measurement.artifacts[0]))
    return facts + _causes(measurement, locked)


def _found(measurement: Measurement) -> list[Fact]:
    predicted = measurement.source == "predicted"
    rate = ("learning rate", _rate(measurement.learning_rate, measurement.lr_refusal))
    facts = [
        ("max batch", f"{measurement.max_batch_size}, bounded by {measurement.bounded_by}"),
        (
            "batch",
            f"{measurement.batch_size}{', which leaves room for what predictions are off' if predicted else ''}",
        ),
        *(() if predicted else (rate,)),
        ("peak memory", words.peak_of_limit(measurement)),
        *_boundary(measurement),
    ]
    if measurement.lr_refusal:
        facts.append(("LR refused", measurement.lr_refusal))
    return facts


def _no_batch_facts(result: CaseResult, measurement: Measurement) -> list[Fact]:
    facts = [("on", words.place(measurement.device, measurement.made_with))]
    facts.append(("memory limit", words.peak_of_limit(measurement)))
    if result.locked:
        then = words.place(result.locked.device, result.locked.made_with)
        facts.append(("locked", f"max batch {result.locked.max_batch_size} on {then}"))
        facts += _causes(measurement, result.locked)
    smallest = _smallest_failure(measurement)
    if smallest and smallest.log:
        facts.append(("log", smallest.log))
    return facts


def _remedy_for_nothing(measurement: Measurement) -> str:
    smallest = _smallest_failure(measurement)
    if smallest is None or smallest.outcome == "oom":
        # Smaller ones than it allows may well train.
        lower = "lower search.min_batch_size, " if "search.min_batch_size" in measurement.settings else ""
        return (
            "there is nothing to lock: raise the GPU's budget or target_memory_fraction,\n"
            f"{lower}or make the workload smaller"
        )
    if smallest.outcome == "dataset":
        return (
            f"there is nothing to lock: one pass over the training data holds no full batch of {smallest.batch_size};\n"
            "give the model more data, or lower search.min_batch_size"
        )
    return _try_alone(measurement.case_id, smallest.batch_size)


def _try_alone(case_id: str, batch_size: int) -> str:
    return f"try it alone with:\n  gpu-profile probe {case_id} --batch-size {batch_size}"


def _predict_alone(case_id: str) -> str:
    return f"try it alone with:\n  gpu-profile predict {case_id}"


def _boundary(measurement: Measurement) -> list[Fact]:
    """Return how the next larger batch ended, with its log when that was an error."""
    smallest = _smallest_failure(measurement)
    if smallest is None:
        return []
    facts = [("ended by", describe_ending(smallest))]
    if smallest.outcome == "error" and smallest.log:
        facts.append(("log", smallest.log))
    return facts


def _own_error(measurement: Measurement) -> list[str]:
    """Return the user's traceback when an error ended the search."""
    smallest = _smallest_failure(measurement)
    if smallest is None or smallest.outcome != "error" or not smallest.traceback:
        return []
    return [shorten(smallest.traceback)]


def _smallest_failure(measurement: Measurement) -> Probe | None:
    """Return the smallest training batch above the largest that fits, or None when none was tried."""
    failed = [
        probe
        for probe in measurement.probes
        if probe.kind == "train" and probe.outcome != "fits" and probe.batch_size > measurement.max_batch_size
    ]
    return min(failed, key=lambda probe: probe.batch_size, default=None)


def _causes(measurement: Measurement, locked: LockedProfile) -> list[Fact]:
    if measurement.bounded_by in ("error", "nothing fits"):
        # What ended the search is told already, with more detail than the change of the bound.
        measurement = replace(measurement, bounded_by=locked.bounded_by)
    causes = likely_causes(measurement, locked)
    return [("" if number else "likely cause", cause) for number, cause in enumerate(causes)]


def _facts(facts: list[Fact]) -> str:
    """Return aligned labels and texts, wrapped below themselves."""
    width = max(len(label) for label, _ in facts)
    return "\n".join(
        textwrap.fill(
            text,
            _WIDTH,
            initial_indent=f"  {label:<{width}}  ",
            subsequent_indent=" " * (width + 4),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for label, text in facts
    )


def _rate(value: float | None, refusal: str | None) -> str:
    """Return a learning rate as the lock and the bounds write it: `0.00316`."""
    if value is None:
        return "refused" if refusal else "none"
    return f"{value:.3g}"
