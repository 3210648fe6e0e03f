"""Turns a run into what services for benchmarks read: Bencher and github-action-benchmark.

Runs in the process of the command; imports neither torch nor pytest. It reads a report as data,
which may come from a stranger.
"""

from __future__ import annotations

from harness.benchmark_formats.formats import FORMATS, render

__all__ = ["FORMATS", "render"]
