"""Puts the values of a case into words: a row per value, locked and now, and the facts beside."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from harness.report import words
from harness.units import format_around, format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.page.report_model import Case, Values

    Cell = Callable[[Values], str | None]

_AS_GOOD = 1e-9


class Row(NamedTuple):
    """One value of a case: as it is locked, as it is now, and how far it has changed."""

    name: str
    locked: str
    now: str
    change: str


class Fact(NamedTuple):
    """A name and a text."""

    name: str
    text: str


def comparison(case: Case) -> list[Row]:
    """Return a row for each value that the case or its lock has."""
    rows = [_row(case, name, cell, number) for name, cell, number in _values(case)]
    return [row for row in rows if row is not None]


def facts(case: Case) -> list[Fact]:
    """Return where and with what the case was made, and what ended its search."""
    found: list[Fact] = []
    if case.device is not None:
        versions = case.predicted_with if case.source == "predicted" else case.made_with
        with_what = ", ".join(f"{name} {version}" for name, version in versions.items())
        on = f"{case.device.name}, {format_bytes(case.device.memory_bytes)}"
        emulated = ", emulated" if case.emulated else ""
        found.append(Fact("on", f"{on}{emulated}"))
        if with_what:
            found.append(Fact("with", with_what))
    if case.bounded_by is not None and case.max_batch_size:
        found.append(Fact("batch bounded by", case.bounded_by))
    if case.locked is not None and case.locked.device is not None:
        place = f"{case.locked.device.name}, {format_bytes(case.locked.device.memory_bytes)}"
        found.append(Fact("locked on", place))
    if case.seconds:
        found.append(Fact("took", duration(case.seconds)))
    if case.update_command and case.status == "failed":
        found.append(Fact("accept with", case.update_command))
    return found


def change_of(case: Case) -> tuple[str, float | None]:
    """Return how far the largest batch is from the locked one, as text and as a share."""
    now, then = case.max_batch_size, _baseline(case)
    if now is None:
        return words.MISSING, None
    if not then:
        return "new", None
    return words.relative_change(now, then), now / then - 1


def learning_rate(case: Case) -> str:
    """Return the learning rate with its origin: `3.2e-03`, `kept 3.2e-03`, `refused` or `-`."""
    if case.learning_rate is None:
        return "refused" if case.lr_refusal else words.MISSING
    return f"{'kept ' if case.lr_kept else ''}{words.learning_rate(case.learning_rate)}"


def share_of_limit(case: Case) -> float | None:
    """Return the peak as a share of the limit."""
    if case.peak_memory_bytes is None or not case.memory_limit_bytes:
        return None
    return case.peak_memory_bytes / case.memory_limit_bytes


def duration(seconds: float) -> str:
    """Return seconds as `4.2 s`, `3 min 20 s` or `1 h 05 min`."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left:02} min" if hours else f"{minutes} min {rest:02} s"


def _baseline(case: Case) -> int | None:
    """Return the locked batch that is compared: as `harness.report.words.baseline_of`."""
    if case.locked is None:
        return None
    if case.source == "predicted":
        return case.locked.predicted_batch_size
    return None if case.locked.source == "predicted" else case.locked.max_batch_size


def _values(case: Case) -> Iterator[tuple[str, Cell, Callable[[Values], float | None] | None]]:
    yield "largest batch", lambda one: _count(one.max_batch_size), lambda one: one.max_batch_size
    yield "tuned batch", lambda one: _count(one.batch_size), lambda one: one.batch_size
    yield "micro-batches a step", lambda one: _count(one.accumulate_grad_batches), None
    yield "global batch", lambda one: _count(one.global_batch_size), None
    if case.source != "predicted":
        yield (
            "predicted batch",
            lambda one: _count(one.predicted_batch_size),
            lambda one: one.predicted_batch_size,
        )
    yield (
        "validation batch",
        lambda one: _count(one.validation_batch_size),
        lambda one: one.validation_batch_size,
    )
    for function in dict.fromkeys([*case.inference_batch_sizes, *_locked_inference(case)]):
        yield f"{function} alone", _inference(function), None
    for edge in dict.fromkeys(
        bucket.edge for one in (case, case.locked) if one for bucket in one.buckets
    ):
        yield f"bucket up to {edge:.12g}", _bucket(edge), None
    yield "workers", lambda one: _count(one.num_workers), None
    yield "learning rate", _rate, lambda one: one.learning_rate
    yield "learning rate range", _range, None
    yield "samples/s", _speed, lambda one: one.samples_per_second
    yield (
        "peak memory",
        lambda one: _bytes(one.peak_memory_bytes),
        lambda one: one.peak_memory_bytes,
    )
    yield (
        "memory limit",
        lambda one: _bytes(one.memory_limit_bytes),
        lambda one: one.memory_limit_bytes,
    )


def _row(
    case: Case, name: str, cell: Cell, number: Callable[[Values], float | None] | None
) -> Row | None:
    then = None if case.locked is None else cell(case.locked)
    now = cell(case)
    if then is None and now is None:
        return None
    change = ""
    if number is not None and case.locked is not None:
        before, after = number(case.locked), number(case)
        if before and after is not None:
            change = words.relative_change(after, before)
            change = "same" if abs(after / before - 1) < _AS_GOOD else change
    return Row(name, then or words.MISSING, now or words.MISSING, change)


def _count(value: int | None) -> str | None:
    return None if value is None else str(value)


def _bytes(value: int | None) -> str | None:
    return None if value is None else format_bytes(value)


def _rate(one: Values) -> str | None:
    if one.learning_rate is None:
        return "refused" if one.lr_refusal else None
    return f"{one.learning_rate:.3g}"


def _range(one: Values) -> str | None:
    if len(one.learning_rate_range) != 2:  # noqa: PLR2004 - its two ends
        return None
    lowest, highest = one.learning_rate_range
    over = f", over {words.count(one.lr_horizon, 'step')}" if one.lr_horizon else ""
    return f"{lowest:.3g} to {highest:.3g}{over}"


def _speed(one: Values) -> str | None:
    if one.samples_per_second is None:
        return None
    return format_around(one.samples_per_second, one.samples_per_second_spread)


def _locked_inference(case: Case) -> list[str]:
    return [] if case.locked is None else [*case.locked.inference_batch_sizes]


def _inference(function: str) -> Cell:
    return lambda one: _count(one.inference_batch_sizes.get(function))


def _bucket(edge: float) -> Cell:
    def cell(one: Values) -> str | None:
        for bucket in one.buckets:
            if bucket.edge == edge:
                bound = f", bounded by {bucket.bounded_by}" * (bucket.bounded_by != "memory")
                return f"{bucket.batch_size} (largest {bucket.max_batch_size}{bound})"
        return None

    return cell
