"""Describes the charts of a case in words, and holds their numbers; a browser draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.page.comparison import duration, share_of_limit
from harness.page.memory import compare_holders, describe_holders
from harness.report import words
from harness.units import format_bytes, format_speed

if TYPE_CHECKING:
    from harness.page.history import Change, Locks
    from harness.page.report_model import Case, Probe

_OUTCOMES = ("fits", "oom", "error")
_NO_PROBES = "The run has kept no probes."
_OUTCOME_WORDS = {"fits": "fits", "oom": "ran out of memory", "error": "failed"}


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart of a case, or the reason why there is none."""

    kind: str
    """The name of the function in `charts.js` that draws it."""
    title: str
    caption: str
    """What the chart shows, in words; where there is none, why."""
    drawn: bool = True


def charts(case: Case, locks: Locks) -> list[Chart]:
    """Return the charts of a case, in the order of the page."""
    if case.device is None:
        return _history(case, locks)
    return [
        _memory(case),
        _bracket(case),
        _throughput(case),
        *_learning_rate(case),
        _holders(case),
        _step(case),
        *_history(case, locks),
    ]


def numbers(case: Case, locks: Locks) -> dict[str, Any]:
    """Return the numbers of a case's charts, for JSON; each of them stands there once."""
    found: dict[str, Any] = {
        "limit": case.memory_limit_bytes,
        "largest": case.max_batch_size,
        "probes": [
            [
                probe.batch_size,
                _OUTCOMES.index(probe.outcome),
                probe.peak_memory_bytes,
                round(probe.seconds, 2),
                _rounded(probe.samples_per_second),
                probe.kind,
                probe.phase,
            ]
            for probe in case.probes
        ],
        "speeds": [
            [
                one.batch_size,
                _rounded(one.samples_per_second),
                _rounded(one.samples_per_second_spread),
            ]
            for one in case.speeds
        ],
        "trials": [
            [one.seed, _rounded(one.learning_rate), _rounded(one.loss)] for one in case.lr_trials
        ],
        "sweeps": [
            [one.seed, [*map(_rough, one.learning_rates)], [*map(_rough, one.losses)]]
            for one in case.lr_sweeps
        ],
        "rate": _rounded(_drawn_rate(case)),
        "range": [] if case.largest_learning_rate is not None else [*case.learning_rate_range],
        "lockedRate": _rounded(case.locked.learning_rate) if case.locked else None,
        "holders": [[*holder] for holder in compare_holders(case).holders],
        "step": [*_steps(case)],
        "history": [[*change] for change in changes_of(case, locks)],
    }
    return {key: value for key, value in found.items() if value not in (None, [])}


def _rough(number: float | None) -> float | None:
    """Return a point of a curve with the digits that a picture shows."""
    return None if number is None else float(f"{number:.3g}")


def _rounded(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.4g}")


def _drawn_rate(case: Case) -> float | None:
    """Return the suggestion as the optimizer has it, which is what sweeps and trials are of."""
    return case.learning_rate if case.largest_learning_rate is None else case.largest_learning_rate


def _memory(case: Case) -> Chart:
    title = "Peak memory by batch size"
    known = [probe for probe in _train(case) if probe.peak_memory_bytes is not None]
    if not known:
        why = "No probe has told its peak." if case.probes else _NO_PROBES
        return Chart("memory", title, why, drawn=False)
    sizes = [probe.batch_size for probe in _train(case)]
    text = f"{words.count(len(sizes), 'probe')}, {_span(sizes)}."
    share = share_of_limit(case)
    if case.max_batch_size and case.peak_memory_bytes is not None:
        text += (
            f" The largest batch that fits is {case.max_batch_size}, with a peak of "
            f"{format_bytes(case.peak_memory_bytes)}"
        )
        text += "" if share is None else f", {share:.1%} of the limit"
        text += "."
    if case.memory_limit_bytes:
        text += f" The line is the limit, {format_bytes(case.memory_limit_bytes)}."
    return Chart("memory", title, text)


def _bracket(case: Case) -> Chart:
    title = "The search, probe by probe"
    if not case.probes:
        return Chart("bracket", title, _NO_PROBES, drawn=False)
    counts = [
        f"{number} {_OUTCOME_WORDS[outcome]}"
        for outcome in _OUTCOMES
        if (number := sum(probe.outcome == outcome for probe in case.probes))
    ]
    took = duration(sum(probe.seconds for probe in case.probes))
    text = f"{words.count(len(case.probes), 'probe')} in {took}: {', '.join(counts)}."
    last = case.probes[-1]
    text += f" The last one, {_name(last)}, {_OUTCOME_WORDS[last.outcome]}{_where(last)}."
    return Chart("bracket", title, text)


def _throughput(case: Case) -> Chart:
    title = "Speed by batch size"
    if case.speeds:
        best = max(case.speeds, key=lambda one: one.samples_per_second)
        text = (
            f"{words.count(len(case.speeds), 'batch size')[:-1]}s timed in rounds. The fastest is "
            f"{best.batch_size}, at {format_speed(best.samples_per_second)} samples/s. Bars are "
            "one standard deviation from round to round."
        )
        return Chart("throughput", title, text.replace("sizess", "sizes"))
    known = [
        (probe.samples_per_second, probe.batch_size)
        for probe in _train(case)
        if probe.samples_per_second is not None
    ]
    if not known:
        why = (
            "A prediction runs nothing, so it has no speed."
            if case.source == "predicted"
            else "No probe has told a speed."
        )
        return Chart("throughput", title, why, drawn=False)
    speed, size = max(known)
    text = (
        f"{words.count(len(known), 'probe')}, each without its first batch: rough, and never "
        f"judged. The fastest is batch {size}, at {format_speed(speed)} samples/s."
    )
    return Chart("throughput", title, text)


def _learning_rate(case: Case) -> list[Chart]:
    title = "Learning rate: trials"
    ending = _suggestion(case)
    if not case.lr_trials and not case.lr_sweeps:
        return [Chart("trials", "Learning rate", ending or _why_no_rate(case), drawn=False)]
    shown = []
    if case.lr_trials:
        seeds = len({trial.seed for trial in case.lr_trials})
        lost = sum(trial.loss is None for trial in case.lr_trials)
        text = f"{words.count(len(case.lr_trials), 'trial')} with {words.count(seeds, 'seed')}"
        text += f", of which {lost} diverged" if lost else ""
        text += f". {ending}" if ending else "."
        shown.append(Chart("trials", title, text))
    if case.lr_sweeps:
        of_seeds = ", ".join(str(sweep.seed) for sweep in case.lr_sweeps)
        text = (
            f"{words.count(len(case.lr_sweeps), 'sweep')}, of seed {of_seeds}: the rate rises from "
            "step to step."
        )
        text += "" if case.lr_trials or not ending else f" {ending}"
        shown.append(Chart("sweeps", "Learning rate: sweeps", text))
    return shown


def _suggestion(case: Case) -> str:
    if case.learning_rate is None:
        return f"Refused: {case.lr_refusal}" if case.lr_refusal else ""
    text = f"The suggestion is {case.learning_rate:.3g}"
    if len(case.learning_rate_range) == 2:  # noqa: PLR2004 - its two ends
        lowest, highest = case.learning_rate_range
        text += f"; {lowest:.3g} to {highest:.3g} is as good"
    if case.lr_kept:
        return f"{text.replace('The suggestion is', 'Kept from the lock, not run again:')}."
    if case.locked is not None and case.locked.learning_rate is not None:
        text += f". {case.locked.learning_rate:.3g} is locked"
        text += ", and confirmed" if case.lr_confirmed else ""
    return f"{text}."


def _why_no_rate(case: Case) -> str:
    if case.source == "predicted":
        return "A prediction computes no loss, so it has no learning rate."
    return "No LR range test was asked for."


def _holders(case: Case) -> Chart:
    title = "What holds the memory at the peak"
    found = compare_holders(case)
    if not found.holders:
        return Chart("holders", title, "The run has not found it out.", drawn=False)
    return Chart("holders", title, describe_holders(case, found))


def _steps(case: Case) -> tuple[tuple[int, ...], tuple[int, ...]] | tuple[()]:
    """Return the live memory over a step, locked and now: of the same batch if it is locked."""
    then = case.locked.predicted_step if case.locked else ()
    now = case.predicted_step_at_locked if then else case.predicted_step
    return (then, now) if now else ()


def _step(case: Case) -> Chart:
    title = "Memory over a training step"
    steps = _steps(case)
    if not steps:
        why = "Only a prediction records a step: this case has none."
        return Chart("step", title, why, drawn=False)
    then, now = steps
    if not then or case.locked is None:
        text = f"Of batch {case.predicted_batch_size}, which is not locked with its step: at most"
        return Chart("step", title, f"{text} {format_bytes(max(now))} are live.")
    text = (
        f"Of batch {case.locked.predicted_batch_size}. At most {format_bytes(max(then))} were live "
        f"when it was locked, and {format_bytes(max(now))} are now."
    )
    return Chart("step", title, text)


def changes_of(case: Case, locks: Locks) -> tuple[Change, ...]:
    """Return what commits have locked of a case, on its device, or on that of its lock."""
    device = case.device or (case.locked.device if case.locked else None)
    return () if device is None else locks.changes.get((case.id, device.name), ())


def _history(case: Case, locks: Locks) -> list[Chart]:
    title = "Locked over commits"
    if locks.reason is not None:
        why = f"The history of the lock is not known: {locks.reason}."
        return [Chart("batches", title, why, drawn=False)]
    changes = changes_of(case, locks)
    if not changes:
        return [Chart("batches", title, "No commit of this branch has locked it.", drawn=False)]
    if len(changes) == 1:
        one = changes[0]
        text = f"Locked once, {_at(one)}, and not changed since: batch {one.max_batch_size}."
        return [Chart("batches", title, text, drawn=False)]
    batches = [one.max_batch_size for one in changes]
    rates = [one.learning_rate for one in changes]
    shown = []
    if len({*batches}) > 1:
        text = _over_commits("largest batch", [*map(str, batches)], changes)
        shown.append(Chart("batches", "Locked batch over commits", text))
    if len({*rates}) > 1:
        words_of = ["none" if rate is None else f"{rate:.3g}" for rate in rates]
        text = _over_commits("learning rate", words_of, changes)
        shown.append(Chart("rates", "Locked learning rate over commits", text))
    return shown


def _over_commits(what: str, values: list[str], changes: tuple[Change, ...]) -> str:
    first = values[0].replace("None", "none")
    last = values[-1].replace("None", "none")
    return (
        f"{words.count(len(changes), 'change')} of the profile. The {what} was {first} "
        f"{_at(changes[0])}, and is {last} {_at(changes[-1])}."
    )


def _at(change: Change) -> str:
    return f"in {change.commit} of {change.date}" if change.date else "in what is not committed"


def _train(case: Case) -> list[Probe]:
    return [probe for probe in case.probes if probe.kind == "train"]


def _span(sizes: list[int]) -> str:
    low, high = min(sizes), max(sizes)
    return f"batch {low}" if low == high else f"batch {low} to {high}"


def _name(probe: Probe) -> str:
    return f"{'' if probe.kind == 'train' else f'{probe.kind} '}batch {probe.batch_size}"


def _where(probe: Probe) -> str:
    return f" in {probe.phase}" if probe.phase and probe.outcome != "fits" else ""
