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
    """The folder in which the probes of a case leave their histories, if they can.

    A folder may serve searches on several GPUs, one after another. Then it holds the history of the
    last probe of each batch size.
    """

    directory: Path | None
    """None where the device's allocator keeps no history, or is not the one that we know."""
    settings: AllocatorSettings
    allow_thrashing: bool

    def file(self, batch_size: int) -> Path | None:
        """Return the file for the history of a probe that is about to run."""
        if self.directory is None:
            return None
        file = self.directory / f"{batch_size}.json"
        # Not all probes write one, and that of an earlier probe may be another GPU's.
        file.unlink(missing_ok=True)
        return file

    def estimator(self, limit_bytes: int) -> Estimator | None:
        """Return the estimator for a search below a limit."""
        if self.directory is None or not limit_bytes:
            return None

        def estimate(fitting: int, below: int) -> Estimate | None:
            history = self._read(fitting)
            if history is None:
                return None
            if fitting < READABLE:
                return Estimate(min(history.rough(limit_bytes), below - 1), rough=True)
            largest = history.largest(
                below, limit_bytes, self.settings, allow_thrashing=self.allow_thrashing
            )
            return Estimate(largest, rough=False)

        return estimate

    def largest_kept(self, limit_bytes: int, maximum: int) -> int | None:
        """Return the largest size below a limit by a history of an earlier search; None if none.

        It is the history of the size that is nearest to the answer.
        """
        best = None
        for size in self._sizes():
            if size < READABLE:
                break
            history = self._read(size)
            if history is None:
                continue
            found = history.largest_elsewhere(
                maximum + 1, limit_bytes, self.settings, allow_thrashing=self.allow_thrashing
            )
            if best is None or abs(found - size) < abs(best[0] - best[1]):
                best = (found, size)
            if best[0] == best[1]:
                break
        return None if best is None else best[0] or None

    def _sizes(self) -> list[int]:
        if self.directory is None:
            return []
        return sorted((int(file.stem) for file in self.directory.glob("*.json")), reverse=True)

    def _read(self, batch_size: int) -> BlockHistory | None:
        assert self.directory is not None, "only histories that are kept are read"
        return BlockHistory.read(self.directory / f"{batch_size}.json", batch_size)


@contextmanager
def recorded_histories(runner: ProbeRunner, *, allow_thrashing: bool) -> Iterator[Histories]:
    """Make a folder for the histories of a case, and remove it behind."""
    try:
        settings = AllocatorSettings.of_environment(os.environ)
        known = runner.device.can_snapshot
    except HarnessError:  # such as another backend
        settings, known = AllocatorSettings(), False
    if not known:
        yield Histories(None, settings, allow_thrashing)
        return
    with TemporaryDirectory(prefix="histories-", dir=runner.directory) as directory:
        yield Histories(Path(directory), settings, allow_thrashing)
