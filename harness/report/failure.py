"""Explains why a case failed: its values, the bound, the likely cause, the command to accept it."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.bounds.causes import likely_causes
from harness.bounds.failed_probes import telling_failure
from harness.case_names import label
from harness.errors import WorkloadError
from harness.probes.outcomes import advise_multiple, describe_outcome
from harness.report import words
from harness.report.growth import growth_block
from harness.report.headline import headline
from harness.report.table import align
from harness.report.tracebacks import shorten
from harness.units import format_speed
from harness.visible import visible

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from harness.bounds.verdict import Violation
    from harness.errors import HarnessError
    from harness.lockfile.profiles import LockedProfile
    from harness.measurement import Growth, Measurement, Source
    from harness.report.case_result import CaseResult

_WIDTH = 80

Fact = tuple[str, str]
"""A label and its text. An empty label repeats the one above."""


def failure_text(result: CaseResult, update_command: str) -> str:
    """Return the text that explains why a measured, predicted or checked case failed.

    It is at most 80 columns wide, except for paths, commands and tracebacks. `update_command` is
    the command that locks the values; the text does not offer it when nothing trains.
    """
    measurement = result.measurement
    title = textwrap.fill(
        f"{result.case_id}: {headline(result)}",
        _WIDTH,
        subsequent_indent="  ",
        break_on_hyphens=False,
    )
    parts = [title]
    if measurement is None:  # only its lock was checked
        parts.append(f"measure the case on its device, and lock it with:\n  {update_command}")
    elif measurement.max_batch_size == 0:
        parts += [_facts(_no_batch_facts(result, measurement)), *_own_error(measurement)]
        parts.append(_remedy_for_nothing(measurement, result.verb_flags))
    elif result.locked is None or words.baseline_of(result) is None:
        parts += [_facts(_found(measurement)), *_own_error(measurement)]
        parts.append(f"lock these values with:\n  {update_command}")
    else:
        parts += [_comparison(measurement, result.locked, result.violations)]
        parts += [
            _facts(_circumstances(result, measurement, result.locked)),
            *_own_error(measurement),
        ]
        parts += filter(None, [growth_block(measurement, result.locked)])
        parts.append(f"accept what was {measurement.source} with:\n  {update_command}")
    return visible("\n\n".join(parts))


def error_text(
    name: str, error: HarnessError, source: Source = "measured", verb_flags: str = ""
) -> str:
    """Return the text of a case that could not be measured or predicted.

    Either the machine was in the way, or the workload cannot be built. `name` is the name of the
    test, with the case in brackets. For a WorkloadError, the text has also the traceback if there
    is one, the log's path unless the message names it, and the command that tries the case alone.
    """
    parts = [f"{name}: {error}"]
    if isinstance(error, WorkloadError):
        if error.detail:
            parts.append(shorten(error.detail))
        if error.log and error.log not in str(error):
            parts.append(f"log: {error.log}")
        if case_id := name.partition("[")[2].removesuffix("]"):
            alone = (
                f"predict {case_id}" if source == "predicted" else f"probe {case_id} --batch-size 1"
            )
            parts.append(_try_alone(alone, verb_flags))
    return visible("\n\n".join(parts))


def _comparison(
    measurement: Measurement, locked: LockedProfile, violations: Collection[Violation]
) -> str:
    """Return a table of locked and measured values, with the allowed ones of broken bounds."""
    allowed: dict[str, str] = {violation.bound: str(violation.allowed) for violation in violations}
    if measurement.source == "predicted":
        rows = [
            _batch_row("predicted_batch_size", locked.predicted_batch_size, measurement, allowed)
        ]
    else:
        rate = _rate(locked.learning_rate, locked.lr_refusal)
        now = _rate(measurement.learning_rate, measurement.lr_refusal)
        rows = [
            _batch_row("batch_size", locked.max_batch_size, measurement, allowed),
            ("learning rate", rate, now, allowed.get("learning_rate", "")),
        ]
        if "throughput" in allowed:
            rows.append(_speed_row(measurement, locked, violations))
    if "inference_batch_size" in allowed:
        rows += _inference_rows(measurement, locked, violations)
    if "bucket_batch_size" in allowed:
        rows += _bucket_rows(measurement, locked, violations)
    has_limits = any(row[3] for row in rows)
    width = 4 if has_limits else 3
    table = align(
        [row[:width] for row in (("", "locked", measurement.source, "allowed"), *rows)],
        ["left"] * width,
    )
    return textwrap.indent(table, "  ")


def _batch_row(
    bound: str, locked: int | None, measurement: Measurement, allowed: Mapping[str, str]
) -> tuple[str, str, str, str]:
    limit = f"at least {allowed[bound]}" if bound in allowed else ""
    return ("max batch", str(locked), str(measurement.max_batch_size), limit)


def _inference_rows(
    measurement: Measurement, locked: LockedProfile, violations: Iterable[Violation]
) -> Iterator[tuple[str, str, str, str]]:
    """Yield a row for each function of the Trainer that is locked alone."""
    broken = {one.locked: one.allowed for one in violations if one.bound == "inference_batch_size"}
    for function, size in locked.inference_batch_sizes.items():
        now = measurement.inference_batch_sizes.get(function)
        fell = size in broken and size != now
        limit = f"at least {broken[size]}" if fell else ""
        yield (f"{function} batch", str(size), words.MISSING if now is None else str(now), limit)


def _bucket_rows(
    measurement: Measurement, locked: LockedProfile, violations: Iterable[Violation]
) -> Iterator[tuple[str, str, str, str]]:
    """Yield a row for each bucket below the last, whose batch is the case's own."""
    broken = {
        (one.locked, one.measured): one.allowed
        for one in violations
        if one.bound == "bucket_batch_size"
    }
    now = {bucket.edge: bucket.max_batch_size for bucket in measurement.buckets}
    for bucket in locked.buckets[:-1]:
        size, measured = bucket.max_batch_size, now.get(bucket.edge)
        limit = f"at least {broken[size, measured]}" if (size, measured) in broken else ""
        found = words.MISSING if measured is None else str(measured)
        yield (f"bucket {label(bucket.edge)}", str(size), found, limit)


def _speed_row(
    measurement: Measurement, locked: LockedProfile, violations: Iterable[Violation]
) -> tuple[str, str, str, str]:
    """Return the row of the speed: both measured values, if it was measured again."""
    found = next(one for one in violations if one.bound == "throughput")
    again = [one.samples_per_second for one in measurement.speeds_again]
    now = ", then ".join([str(found.measured), *map(format_speed, again)])
    return ("samples/s", str(locked.samples_per_second), now, f"at least {found.allowed}")


def _circumstances(
    result: CaseResult, measurement: Measurement, locked: LockedProfile
) -> list[Fact]:
    predicted = measurement.source == "predicted"
    then = words.place(locked.device, locked.predicted_with if predicted else locked.made_with)
    now = words.place(measurement.device, measurement.made_with)
    verb = "predicted for" if predicted else "measured on"
    facts = [("locked on", then), (verb, now)] if then != now else [(verb.split()[1], now)]
    facts.append(
        ("peak memory", f"{words.peak_of_limit(measurement)} at batch {measurement.max_batch_size}")
    )
    facts += _boundary(measurement)
    if (
        not predicted
        and measurement.learning_rate is None
        and locked.learning_rate is not None
        and measurement.lr_refusal
    ):
        facts.append(("LR refused", measurement.lr_refusal))
    if any(violation.bound == "learning_rate" for violation in result.violations):
        facts += _ranges(measurement, locked)
        if measurement.artifacts and measurement.lr_curves:
            facts.append(("LR curve", measurement.artifacts[0]))
    return facts + _causes(measurement, locked)


def _ranges(measurement: Measurement, locked: LockedProfile) -> list[Fact]:
    """Return the locked range of the learning rate, and the measured one where it is another."""
    then, now = words.learning_rate_range(locked), words.learning_rate_range(measurement)
    facts = [("LR range", f"{then}, locked")] if then else []
    if now and now != then:
        facts.append(("" if facts else "LR range", f"{now}, measured"))
    return facts


def _found(measurement: Measurement) -> list[Fact]:
    predicted = measurement.source == "predicted"
    room = ", which leaves room for errors of the prediction" if predicted else ""
    remarks = [words.learning_rate_range(measurement)]
    if measurement.largest_learning_rate is not None:
        largest = _rate(measurement.largest_learning_rate, None)
        remarks.append(f"the optimizer's largest group: {largest}")
    remark = "; ".join(filter(None, remarks))
    rate = _rate(measurement.learning_rate, measurement.lr_refusal)
    facts = [
        ("max batch", f"{measurement.max_batch_size}, bounded by {measurement.bounded_by}"),
        ("batch", f"{measurement.batch_size}{room}{words.step(measurement)}"),
        *([] if (sizes := words.buckets(measurement)) is None else [("buckets", sizes)]),
        *(() if predicted else [("learning rate", f"{rate} ({remark})" if remark else rate)]),
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
    shown = telling_failure(measurement)
    if shown and shown.log:
        facts.append(("log", shown.log))
    return facts


def _remedy_for_nothing(measurement: Measurement, verb_flags: str) -> str:
    shown = telling_failure(measurement)
    if shown is None or shown.outcome == "oom":
        # A batch below that minimum may still train.
        lower = (
            "lower search.min_batch_size, "
            if "search.min_batch_size" in measurement.settings
            else ""
        )
        # The CPU's budget is the limit itself; a fraction of it has no effect.
        on_cpu = measurement.device.name == "cpu"
        room = "the budget" if on_cpu else "the GPU's budget or target_memory_fraction"
        if shown is not None and shown.growth is not None:
            return _remedy_for_growth(shown.growth, room)
        return f"there is nothing to lock: raise {room},\n{lower}or make the workload smaller"
    if shown.outcome == "dataset":
        return (
            "there is nothing to lock: one pass over the training data holds no full batch of "
            f"{shown.batch_size};\ngive the model more data, or lower search.min_batch_size"
        )
    advice = advise_multiple(measurement.probes, measurement.max_batch_size)
    if advice is not None:
        return textwrap.fill(advice, _WIDTH, break_on_hyphens=False)
    probe = f"probe {measurement.case_id} --batch-size {shown.batch_size}"
    return _try_alone(probe, verb_flags)


def _remedy_for_growth(growth: Growth, room: str) -> str:
    """Return what helps where no batch has room for what is kept until an epoch's end.

    What a sample keeps does not depend on the batch, so a smaller one is no help.
    """
    validation = growth.phase == "validation"
    leave = ", or leave validation out with search.validation: false" if validation else ""
    return textwrap.fill(
        "there is nothing to lock: what is kept until the end is too much at any batch size. Keep "
        f"sums instead of outputs, as metrics do that update with each batch, or raise {room}"
        f"{leave}",
        _WIDTH,
        break_on_hyphens=False,
    )


def _try_alone(verb: str, flags: str) -> str:
    return f"try it alone with:\n  gpu-profile {verb}{flags}"


def _boundary(measurement: Measurement) -> list[Fact]:
    """Return how the smallest failed probe ended, with its log if it was an error."""
    shown = telling_failure(measurement)
    if shown is None:
        return []
    facts = [("ended by", describe_outcome(shown))]
    if shown.outcome == "error" and shown.log:
        facts.append(("log", shown.log))
    return facts


def _own_error(measurement: Measurement) -> list[str]:
    """Return the user's traceback when an error ended the search."""
    shown = telling_failure(measurement)
    if shown is None or shown.outcome != "error" or not shown.traceback:
        return []
    return [shorten(shown.traceback)]


def _causes(measurement: Measurement, locked: LockedProfile) -> list[Fact]:
    if measurement.bounded_by in ("error", "nothing fits"):
        # The text already shows what ended the search, in more detail than the change of the bound.
        measurement = replace(measurement, bounded_by=locked.bounded_by)
    causes = likely_causes(measurement, locked)
    return [("" if number else "likely cause", cause) for number, cause in enumerate(causes)]


def _facts(facts: list[Fact]) -> str:
    """Return labels and texts in two aligned columns; a long text wraps within its column."""
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
