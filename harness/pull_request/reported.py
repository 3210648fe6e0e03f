"""Reads report.json, which may come from a stranger, for the comment on a pull request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from harness.errors import HarnessError
from harness.lockfile.report_file import UnreadableReportError, read_report
from harness.wording import shown_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STATUSES = ("error", "failed", "passed", "skipped")
"""How a case may have ended, the most urgent first."""


@dataclass(frozen=True, slots=True)
class Grown:
    """What holds more memory than when the case was locked."""

    holder: str
    then_bytes: int
    now_bytes: int
    at_most: bool
    line: str


@dataclass(frozen=True, slots=True)
class Reported:
    """A case as a report has it, with what a comment shows."""

    case_id: str
    status: str
    headline: str
    """Why it failed or was skipped, in one line."""
    predicted: bool
    max_batch_size: int | None
    locked_batch_size: int | None
    learning_rate: float | None
    lr_refused: bool
    peak_bytes: int | None
    limit_bytes: int | None
    grown: tuple[Grown, ...]
    improvements: tuple[str, ...]
    update_command: str


def read_reports(paths: Sequence[Path]) -> list[Reported]:
    """Return the cases of several runs, those that failed first, then by id.

    A case that one run skipped, for it had not the GPU, is as another run found it. If several
    runs found it, the worst counts. Raises HarnessError for a file that is no report.
    """
    cases: dict[str, Reported] = {}
    for path in paths:
        for one in _read(path):
            known = cases.get(one.case_id)
            if known is None or _rank(one) < _rank(known):
                cases[one.case_id] = one
    return sorted(cases.values(), key=lambda one: (_rank(one), one.case_id))


def _rank(one: Reported) -> int:
    return STATUSES.index(one.status)


def _read(path: Path) -> list[Reported]:
    try:
        report = read_report(path)
        if report is None:
            raise HarnessError(f"{shown_path(path)} does not exist; name the report.json of a run")
        return [_case(_Fields(case, f"cases[{n}]")) for n, case in enumerate(report["cases"])]
    except (UnreadableReportError, ValueError) as error:
        raise HarnessError(
            f"{shown_path(path)}: cannot be read as the report of a run: {error}; name the "
            "report.json of a run"
        ) from error


class _Fields:
    """An object of JSON; each value must be of its type, or null, or missing."""

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, dict):
            raise ValueError(f"{where} is no object")  # noqa: TRY004 - a bad value in a file
        self._data = data
        self._where = where

    def text(self, name: str) -> str | None:
        value = self._data.get(name)
        return value if value is None or isinstance(value, str) else self._refuse(name, "text")

    def flag(self, name: str) -> bool:
        value = self._data.get(name)
        return bool(value) if value is None or isinstance(value, bool) else self._refuse(name, "")

    def number(self, name: str) -> float | None:
        value = self._data.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float, type(None))):
            return self._refuse(name, "number")
        return None if value is None else float(value)

    def whole(self, name: str) -> int | None:
        value = self._data.get(name)
        if value is None or (type(value) is int and 0 <= value < 1 << 63):
            return value
        return self._refuse(name, "whole number")

    def items(self, name: str) -> list[Any]:
        value = self._data.get(name)
        return value or [] if value is None or isinstance(value, list) else self._refuse(name, "")

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(
            one if isinstance(one, str) else self._refuse(name, "") for one in self.items(name)
        )

    def objects(self, name: str) -> tuple[_Fields, ...]:
        items = enumerate(self.items(name))
        return tuple(_Fields(one, f"{self._where}.{name}[{number}]") for number, one in items)

    def object(self, name: str) -> _Fields | None:
        value = self._data.get(name)
        return None if value is None else _Fields(value, f"{self._where}.{name}")

    def _refuse(self, name: str, kind: str) -> NoReturn:
        raise ValueError(f"{self._where}.{name} is no {kind or 'value of its type'}")


def _case(fields: _Fields) -> Reported:
    case_id, status = fields.text("id"), fields.text("status")
    if case_id is None or status not in STATUSES:
        raise ValueError("a case has no id, or its status is none of " + ", ".join(STATUSES))
    predicted = fields.text("source") == "predicted"
    locked = fields.object("locked")
    known = None
    # A prediction is compared with a locked prediction, a measurement with a locked measurement.
    if locked is not None and predicted:
        known = locked.whole("predicted_batch_size")
    elif locked is not None and locked.text("source") != "predicted":
        known = locked.whole("max_batch_size")
    reason = (fields.text("reason") or "").strip().partition("\n")[0]
    return Reported(
        case_id,
        status,
        fields.text("headline") or reason or status,
        predicted,
        fields.whole("max_batch_size"),
        known,
        fields.number("learning_rate"),
        fields.text("lr_refusal") is not None,
        fields.whole("peak_memory_bytes"),
        fields.whole("memory_limit_bytes"),
        tuple(
            Grown(
                one.text("holder") or "",
                one.whole("then_bytes") or 0,
                one.whole("now_bytes") or 0,
                one.flag("at_most"),
                one.text("line") or "",
            )
            for one in fields.objects("grown")
        ),
        fields.texts("improvements"),
        fields.text("update_command") or "",
    )
