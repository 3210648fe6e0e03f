"""The verb `report`: makes the page of one or more runs from report.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

# pydantic, which makes the schema of it, wants this one before Python 3.12.
from typing_extensions import TypedDict

from harness import page
from harness.cli.answers.answer import Answer
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

    path: str
    """The page that was written, as it was named."""
    size_bytes: int
    cases: int
    """The number of cases in it."""


def report(options: argparse.Namespace, paths: Paths) -> Answer:
    """Write the page of a report; it runs nothing of the checkout. The exit code is 0."""
    target = options.html
    if target.suffix.lower() not in (".html", ".htm"):
        raise HarnessError(f"--html {shown_path(target)}: a page is HTML; end the name in .html")
    found = page.read_reports(options.reports or [paths.results / "report.json"])
    page.write_page(target, found, page.lock_history_of(paths.lock))
    document: ReportDocument = {
        "path": str(target),
        "size_bytes": target.stat().st_size,
        "cases": len(found.cases),
    }
    say(
        f"wrote {shown_path(target)}: {count(document['cases'], 'case')}, "
        f"{format_bytes(document['size_bytes'])}"
    )
    return Answer(0, document)
