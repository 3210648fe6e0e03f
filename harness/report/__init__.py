"""Every word that a run shows: terminal table, failure texts, Markdown, JSON, and the estimate before it."""

from __future__ import annotations

from harness.report.estimate import CostItem, estimate_line, prediction_line
from harness.report.failure import error_text, failure_text, headline
from harness.report.json_report import render_json
from harness.report.markdown import append_step_summary, render_markdown
from harness.report.summary import improvement_lines, note_lines, summary_lines, why_nothing
from harness.report.table import render_table, status_markup

__all__ = [
    "CostItem",
    "append_step_summary",
    "error_text",
    "estimate_line",
    "failure_text",
    "headline",
    "improvement_lines",
    "note_lines",
    "prediction_line",
    "render_json",
    "render_markdown",
    "render_table",
    "status_markup",
    "summary_lines",
    "why_nothing",
]
