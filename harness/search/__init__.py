"""Searches for the largest batch size, with any function that probes one.

Runs in pytest's process. Pure: imports neither torch nor pytest, and of this package only
`harness.errors` and the types of `harness.measurement`.
"""

from harness.search.search import SearchResult, search

__all__ = ["SearchResult", "search"]
