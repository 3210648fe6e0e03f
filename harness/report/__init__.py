"""Renders what a run shows: terminal table, failure texts, Markdown, JSON, the estimate.

Runs in pytest's process; imports neither torch nor pytest. May import bounds, lockfile and wording.
"""

from __future__ import annotations

from harness.report.annotations import annotation_commands
from harness.report.estimate import CostItem, cost_of, estimate_line, seconds_of
from harness.report.failure import error_text, failure_text
from harness.report.headline import headline
from harness.report.json_report import json_parts, render_json
from harness.report.junit_properties import properties_of
from harness.report.markdown import append_step_summary, render_markdown
from harness.report.summary import improvement_lines, note_lines, summary_lines, why_nothing
from harness.report.table import render_table, status_markup
from harness.report.words import count

__all__ = [
    "CostItem",
    "annotation_commands",
    "append_step_summary",
    "cost_of",
    "count",
    "error_text",
    "estimate_line",
    "failure_text",
    "headline",
    "improvement_lines",
    "json_parts",
    "note_lines",
    "properties_of",
    "render_json",
    "render_markdown",
    "render_table",
    "seconds_of",
    "status_markup",
    "summary_lines",
    "why_nothing",
]
