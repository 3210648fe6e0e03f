"""The verb `report`: makes the page of one or more runs, or prints their benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# pydantic, which makes the schema of it, wants this one before Python 3.12.
from typing_extensions import TypedDict

from harness import benchmark_formats, page
from harness.cli.answers.answer import Answer, json_text
from harness.cli.answers.output import write_utf8
from harness.cli.common import say
from harness.errors import HarnessError
from harness.report.words import count
from harness.units import format_bytes
from harness.wording import shown_path

if TYPE_CHECKING:
    import argparse

    from harness.run.paths import Paths


class ReportDocument(TypedDict):
    """The document of `report`."""

    path: str | None
    """The page that was written, as it was named; null with `--format`."""
    size_bytes: int | None
    cases: int
    """The number of cases in the report."""
    format: str | None
    content: Any
    """What `--format` prints; null without."""


def report(options: argparse.Namespace, paths: Paths) -> Answer:
    """Write the page of a report, or print its values in the format of a service.

    It runs nothing of the checkout. The exit code is 0.
    """
    given = options.reports or [paths.results / "report.json"]
    document: ReportDocument = {
        "path": None,
        "size_bytes": None,
        "cases": 0,
        "format": options.format,
        "content": None,
    }
    if options.format is not None:
        found = page.read_reports(given)
        content = benchmark_formats.render(found, options.format)
        if not options.json:
            write_utf8(json_text(content))
        return Answer(0, document | {"cases": len(found.cases), "content": content})
    target = options.html
    if target.suffix.lower() not in (".html", ".htm"):
        raise HarnessError(f"--html {shown_path(target)}: a page is HTML; end the name in .html")
    found = page.read_reports(given)
    page.write_page(target, found, page.lock_history_of(paths.lock))
    size = target.stat().st_size
    say(f"wrote {shown_path(target)}: {count(len(found.cases), 'case')}, {format_bytes(size)}")
    return Answer(
        0, document | {"path": str(target), "size_bytes": size, "cases": len(found.cases)}
    )
