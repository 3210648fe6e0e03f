"""Lets a training on a simulated GPU read values as zeros give them, and notes where they decide."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.probe_tasks.decisions import Decisions

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def consistent_zeros() -> Iterator[Decisions]:
    """Read values as zeros give them inside the block; return the lines where they decide."""
    yield Decisions()
