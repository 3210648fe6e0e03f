"""Makes the page of a run: one HTML file with charts, which asks nothing of a network.

Runs in pytest's process and in the command; imports neither torch nor pytest. It reads a report as
data, which may come from a stranger, and runs nothing of it. Needs the extra `report`: jinja2 for
the page and vl-convert-python, which ships Vega-Lite, for its charts.
"""

from __future__ import annotations

from harness.page.history import lock_history_of
from harness.page.library import is_available
from harness.page.report_model import read_reports, report_of
from harness.page.writing import first_shown, render_page, write_page

__all__ = [
    "first_shown",
    "is_available",
    "lock_history_of",
    "read_reports",
    "render_page",
    "report_of",
    "write_page",
]
