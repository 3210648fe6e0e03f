"""Keeps what probes record of their allocations, and estimates the largest batch from it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from harness.allocator.history import READABLE, BlockHistory
from harness.allocator.settings import AllocatorSettings
from harness.errors import HarnessError
from harness.search.estimates import Estimate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.probes.runner import ProbeRunner
    from harness.search.estimates import Estimator


@dataclass(frozen=True)
class Histories:
    """The folder in which the probes of one search leave their histories, if they can."""

    directory: Path | None
    """None where the device's allocator keeps no history, or is not the one that we know."""
    limit_bytes: int
    settings: AllocatorSettings
    allow_thrashing: bool

    def file(self, batch_size: int) -> Path | None:
        """Return the file for the history of a probe."""
        return None if self.directory is None else self.directory / f"{batch_size}.json"

    @property
    def estimator(self) -> Estimator | None:
        """The estimator for the search."""
        return None if self.directory is None else self._estimate

    def _estimate(self, fitting: int, below: int) -> Estimate | None:
        file = self.file(fitting)
        history = None if file is None else BlockHistory.read(file, fitting)
        if history is None:
            return None
        if fitting < READABLE:
            return Estimate(min(history.rough(self.limit_bytes), below - 1), rough=True)
        largest = history.largest(
            below, self.limit_bytes, self.settings, allow_thrashing=self.allow_thrashing
        )
        return Estimate(largest, rough=False)


@contextmanager
def recorded_histories(runner: ProbeRunner, *, allow_thrashing: bool) -> Iterator[Histories]:
    """Make a folder for the histories of one search, and remove it behind.

    The workload is described already, so that the memory limit is known.
    """
    limit = runner.memory_limit_bytes or 0
    try:
        settings, _ = AllocatorSettings.of_environment(os.environ)
        known = bool(runner.device.can_snapshot and limit)
    except HarnessError:  # such as another backend
        settings, known = AllocatorSettings(), False
    if not known:
        yield Histories(None, limit, settings, allow_thrashing)
        return
    with TemporaryDirectory(prefix="histories-", dir=runner.directory) as directory:
        yield Histories(Path(directory), limit, settings, allow_thrashing)
