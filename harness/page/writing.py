"""Renders the page of a report, and writes it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any, TypeVar

from harness.files import write_text
from harness.page import comparison
from harness.page.charts import charts, numbers
from harness.page.library import chart_library, require
from harness.report import words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from harness.page.history import Locks
    from harness.page.report_model import Case, Report

_ORDER = ("failed", "error", "skipped", "passed")
MAX_CASES = 1000
"""The most cases of a page. With 5 KB of each, a browser opens it at once; nobody reads more."""
_FILES = ("page.css", "charts.js", "page.js")
# In JSON these characters stand in strings alone. Escaped, no text of a report can end the script.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


_C = TypeVar("_C")


def write_page(path: Path, report: Report, locks: Locks) -> None:
    """Write the page of a report. A link in the place of the file is replaced, not followed.

    locks: what commits have locked of its cases.

    Raises HarnessError where the extra `report` is missing, or the file cannot be written.
    """
    write_text(path, render_page(report, locks), follow=False)


def render_page(report: Report, locks: Locks) -> str:
    """Return the page of a report as HTML. Raises HarnessError where the extra is missing."""
    require()
    from jinja2 import Environment  # noqa: PLC0415 - optional, and only a page needs it

    files = {name: _read(name) for name in _FILES}
    cases = first_shown(report.cases, lambda case: (case.status, case.id))
    counts = Counter[str](case.status for case in report.cases) + Counter(report.left_out)
    scripts = [chart_library(), files["charts.js"], files["page.js"]]
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_read("page.html.jinja"))
    return template.render(
        policy=_policy(scripts, files["page.css"]),
        style=files["page.css"],
        scripts=scripts,
        data=_json([numbers(case, locks) for case in cases]),
        title=_title(counts),
        summary=_summary(report, counts, len(cases)),
        cases=[_shown(case, locks) for case in cases],
        version=metadata.version("pytest-gpu-profile"),
    )


def first_shown(cases: Sequence[_C], order: Callable[[_C], tuple[str, str]]) -> list[_C]:
    """Return the cases of a page: failures first, and no more than it holds.

    order: returns the status and the id of a case.
    """

    def key(case: _C) -> tuple[int, str]:
        status, name = order(case)
        return _ORDER.index(status), name

    return sorted(cases, key=key)[:MAX_CASES]


def _shown(case: Case, locks: Locks) -> dict[str, Any]:
    change, share = comparison.change_of(case)
    of_limit = comparison.share_of_limit(case)
    shown = charts(case, locks)
    return {
        "case": case,
        "batch": words.MISSING if case.max_batch_size is None else _batch(case),
        "change": change,
        "change_key": "" if share is None else f"{share:.4g}",
        "rate": comparison.learning_rate(case),
        "peak": words.MISSING if of_limit is None else f"{of_limit:.1%}",
        "peak_key": "" if of_limit is None else f"{of_limit:.4g}",
        "took": comparison.duration(case.seconds) if case.seconds else words.MISSING,
        "severity": _ORDER.index(case.status),
        "rows": comparison.comparison(case),
        "facts": comparison.facts(case),
        "charts": [chart for chart in shown if chart.drawn],
        "missing": [chart for chart in shown if not chart.drawn],
        "tracebacks": [
            probe for probe in case.probes if probe.traceback and probe.outcome == "error"
        ][-1:],
    }


def _batch(case: Case) -> str:
    return f"{'~' if case.source == 'predicted' else ''}{case.max_batch_size}"


def _title(counts: Counter[str]) -> str:
    return f"GPU profiles: {_in_words(counts) or 'no case'}"


def _summary(report: Report, counts: Counter[str], num_shown: int) -> list[str]:
    seconds = sum(case.seconds for case in report.cases)
    places = Counter(case.device.name for case in report.cases if case.device)
    probes = sum(len(case.probes) for case in report.cases)
    lines = [f"{words.count(counts.total(), 'case')}: {_in_words(counts)}" if counts else "no case"]
    if num_shown < counts.total():
        lines.append(f"this page has {num_shown} of them, failures first; report.json has all")
    if places:
        lines.append(f"on {', '.join(sorted(places))}")
    if probes:
        lines.append(f"{words.count(probes, 'probe')} in {comparison.duration(seconds)}")
    if report.preset:
        lines.append(f"preset {report.preset}")
    return lines


def _in_words(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[status]} {status}" for status in _ORDER if counts[status])


def _policy(scripts: list[str], style: str) -> str:
    """Return the Content-Security-Policy: these scripts and this style, and nothing else."""
    script_hashes = " ".join(f"'{_digest(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {script_hashes}; style-src '{_digest(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _json(data: Any) -> str:
    return json.dumps(data, allow_nan=False, separators=(",", ":")).translate(_ESCAPES)


def _read(name: str) -> str:
    return resources.files("harness.page").joinpath(name).read_text(encoding="utf-8")
