"""Gives what a run found to the loggers of the matrix, each in a process of its own.

Runs in pytest's process, after reports and lockfile are written; `inside` runs in the process of a
logger. It may import the report's results, and never a logger's library.
"""

from harness.loggers.logging_run import log_run

__all__ = ["log_run"]
