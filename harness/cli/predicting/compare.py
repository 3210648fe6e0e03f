"""Predicts cases in two environments: `gpu-profile predict --all --compare REQ REQ`."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from harness.bounds.sizes import smallest_allowed
from harness.cli.answers.answer import Answer
from harness.cli.common import say, say_aside
from harness.cli.elsewhere.answers import key
from harness.cli.elsewhere.growth import grown, grown_data, growth_lines
from harness.cli.elsewhere.run import PACKAGE_ROOT, ended_by_sigterm, predict_elsewhere
from harness.cli.predicting.cases import asked_cases, gpus_of
from harness.cli.predicting.documents import predict_document
from harness.environments.layers import Layer, layer_of
from harness.errors import HarnessError
from harness.report.words import MISSING, relative_change
from harness.units import format_bytes
from harness.visible import cut, one_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from harness.bounds.predicted import Growth
    from harness.cli.elsewhere.answers import Asked, CaseAnswer, CaseRefusal
    from harness.cli.predicting.documents import ComparedCaseData, ComparedSideData
    from harness.run.paths import Paths

_TROUBLE = 2
_SHOWN_PACKAGES = 4
_SHOWN_CONFLICTS = 5
_COMMAND = (
    "trains by a command, which has a Python of its own: --compare cannot put another environment "
    "in its place"
)


@dataclass
class _Side:
    """One of the two environments, and what was predicted in it."""

    text: str
    layer: Layer | None = None
    problem: str | None = None
    """Why nothing was predicted in it."""
    answers: dict[str, CaseAnswer | CaseRefusal] = field(default_factory=dict)
    """By `key`; those that cannot be predicted on any GPU by the case's id."""

    def data(self) -> ComparedSideData:
        return {
            "requirement": self.text,
            "replaced": {} if self.layer is None else dict(self.layer.replaced),
            "conflicts": [] if self.layer is None else [*self.layer.conflicts],
            "problem": self.problem,
        }


@dataclass
class _Compared:
    """A case on a GPU, in both environments."""

    case: str
    gpu: str
    first: CaseAnswer | None
    second: CaseAnswer | None
    problems: list[str]

    @property
    def allowed(self) -> int | None:
        if self.first is None or not self.first["max_batch_size"]:
            return None
        return smallest_allowed(self.first["max_batch_size"], self.first["max_drop"])

    @property
    def falls(self) -> bool:
        """Whether the batch falls by more than its bound."""
        allowed = self.allowed
        return (
            allowed is not None
            and self.second is not None
            and self.second["max_batch_size"] < allowed
        )

    @property
    def moves(self) -> bool:
        """Whether both are known, and differ."""
        return (
            self.first is not None
            and self.second is not None
            and self.first["max_batch_size"] != self.second["max_batch_size"]
        )

    def grown(self) -> list[Growth]:
        if self.first is None or self.second is None:
            return []
        return grown(self.first["peak"], self.second["wanted"])

    def shrunk(self) -> list[Growth]:
        if self.first is None or self.second is None:
            return []
        return grown(self.second["wanted"], self.first["peak"])

    def data(self) -> ComparedCaseData:
        return {
            "case": self.case,
            "gpu": self.gpu,
            "first": None if self.first is None else self.first["max_batch_size"],
            "second": None if self.second is None else self.second["max_batch_size"],
            "allowed": self.allowed,
            "problems": self.problems,
            "grown": grown_data(self.grown()),
        }


def compare(options: argparse.Namespace, paths: Paths) -> Answer:
    """Predict in both environments, and print what moves.

    The exit code is 1 where the batch of a case falls by more than its bound from the first to the
    second, and else 2 where a side or a case has no answer.
    """
    wanted = _wanted(options, paths)
    sides = [_Side(text) for text in options.compare]
    with ended_by_sigterm():
        for side in sides:
            side.layer, side.problem = _layer(side.text)
        first, second = sides
        _predict(first, options, wanted, {})
        _predict(second, options, wanted, _sizes(first))
    compared = [_compared(case, gpu, first, second) for case, gpu in wanted]
    say("\n".join(_lines(first, second, compared)))
    document = predict_document(
        comparison={
            "first": first.data(),
            "second": second.data(),
            "cases": [one.data() for one in compared],
        }
    )
    if any(one.falls for one in compared):
        return Answer(1, document)
    unknown = any(one.first is None or one.second is None for one in compared)
    return Answer(_TROUBLE if unknown else 0, document)


def _wanted(options: argparse.Namespace, paths: Paths) -> dict[tuple[str, str], str | None]:
    """Return the cases and GPUs, and why one cannot be compared."""
    others = ("module", "data", "trainer", "resolution", "devices", "plot", "snapshot")
    given = [name for name in others if getattr(options, name) is not None]
    if given or options.what_if or (options.case is None and not options.all):
        raise HarnessError(
            "--compare is for a CASE of the matrix or --all, with --gpu at most; it takes nothing "
            "else"
        )
    wanted: dict[tuple[str, str], str | None] = {}
    for case in asked_cases(options, paths):
        why = _COMMAND if case.workload.get("command") is not None else None
        try:
            wanted |= {(case.id, gpu.label): why for gpu in gpus_of(case, options.gpu or [])}
        except HarnessError as error:
            wanted[case.id, MISSING] = str(error)
    return wanted


def _layer(text: str) -> tuple[Layer | None, str | None]:
    say_aside(f"{text}: making its environment")
    try:
        return layer_of(text), None
    except HarnessError as error:
        return None, str(error)


def _sizes(side: _Side) -> dict[str, int]:
    return {
        name: answer["max_batch_size"]
        for name, answer in side.answers.items()
        if answer["kind"] == "predicted" and answer["max_batch_size"]
    }


def _predict(
    side: _Side,
    options: argparse.Namespace,
    wanted: dict[tuple[str, str], str | None],
    held_at: dict[str, int],
) -> None:
    if side.layer is None or not any(why is None for why in wanted.values()):
        return
    say_aside(f"{side.text}: predicting")
    asked: Asked = {
        "matrix": options.matrix,
        "lock": options.lock,
        "case": options.case,
        "gpus": options.gpu or [],
        "holders": held_at,
        "expected": None,
        "moved": None,
        "with_peak": not held_at,
    }
    for answer in predict_elsewhere(asked, Path.cwd(), _environment(), side.layer.python):
        if answer["case"] is None:
            side.problem = answer["reason"]
        elif answer["gpu"] is None:
            side.answers[answer["case"]] = answer
        else:
            side.answers[key(answer["case"], answer["gpu"])] = answer


def _environment() -> dict[str, str]:
    """Return the variables under which another Python finds this package as this one does."""
    given = os.environ.get("PYTHONPATH", "")
    if Path(PACKAGE_ROOT).name in ("site-packages", "dist-packages"):
        return dict(os.environ)  # the layer leads there, behind its own packages
    places = dict.fromkeys(one for one in (*given.split(os.pathsep), PACKAGE_ROOT) if one)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places)}


def _compared(case: str, gpu: str, first: _Side, second: _Side) -> _Compared:
    found: list[CaseAnswer | None] = []
    problems = []
    for side in (first, second):
        answer = side.answers.get(key(case, gpu), side.answers.get(case))
        if answer is not None and answer["kind"] == "predicted":
            found.append(answer)
            continue
        found.append(None)
        if answer is not None:
            problems.append(f"{side.text}: {answer['reason']}")
    return _Compared(case, gpu, found[0], found[1], problems)


def _lines(first: _Side, second: _Side, compared: list[_Compared]) -> Iterator[str]:
    for side in (first, second):
        yield f"{one_line(side.text)}: {_described(side)}"
    yield "predicted on simulated GPUs; nothing ran on a GPU"
    yield ""
    rows = [_row(one, first.text, second.text) for one in compared]
    yield tabulate(rows, headers="keys", disable_numparse=True)
    for one in compared:
        if one.moves:
            yield from _moved(one)
    problems = [(one, problem) for one in compared for problem in one.problems]
    if problems:
        yield ""
    for one, problem in problems:
        yield f"{one.case} with {cut(problem)}"
    for side in (first, second):
        conflicts = () if side.layer is None else side.layer.conflicts
        for conflict in conflicts[:_SHOWN_CONFLICTS]:
            yield f"note on {one_line(side.text)}: {cut(conflict)}"
        if len(conflicts) > _SHOWN_CONFLICTS:
            yield f"note on {one_line(side.text)}: and {len(conflicts) - _SHOWN_CONFLICTS} others"


def _described(side: _Side) -> str:
    if side.problem is not None:
        return f"no answer: {side.problem}"
    assert side.layer is not None, "it has a problem without one"
    if not side.layer.replaced:
        return "as it is installed"
    # Those that were asked for first: what they need themselves may be many.
    replaced = sorted(side.layer.replaced.items(), key=lambda one: one[0] not in side.text)
    shown = [f"{name} {version}" for name, version in replaced]
    more = len(shown) - _SHOWN_PACKAGES
    others = f" and {more} others" if more > 0 else ""
    return f"{', '.join(shown[:_SHOWN_PACKAGES])}{others} in place of what is installed"


def _row(one: _Compared, first: str, second: str) -> dict[str, Any]:
    sizes = [None if at is None else at["max_batch_size"] for at in (one.first, one.second)]
    then, now = sizes
    change = relative_change(now, then) if then and now is not None else MISSING
    if first == second:
        second = f"{second} again"
    return {
        "case": one.case,
        "GPU": one.gpu,
        one_line(first): MISSING if then is None else then,
        one_line(second): MISSING if now is None else now,
        "change": change,
        "allowed": MISSING if one.allowed is None else f"at least {one.allowed}",
        "moved most by": _mover(one),
    }


def _mover(one: _Compared) -> str:
    if not one.moves:
        return MISSING
    assert one.first is not None, "it moves"
    assert one.second is not None, "it moves"
    fell = one.second["max_batch_size"] < one.first["max_batch_size"]
    growths = one.grown() if fell else one.shrunk()
    if not growths:
        return MISSING
    size = format_bytes(growths[0].grown_bytes)
    return one_line(f"{growths[0].holder} {'+' if fell else '-'}{size}")


def _moved(one: _Compared) -> Iterator[str]:
    assert one.first is not None, "it moves"
    growths = one.grown()
    if not growths:
        return
    yield ""
    yield f"{one.case} on {one.gpu}: more memory at the peak of batch {one.first['max_batch_size']}:"
    yield from growth_lines(growths)
