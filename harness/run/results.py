"""Writes the results of a run into their folder."""

from __future__ import annotations

import json
import logging
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from harness import report
from harness.errors import HarnessError, MachineError
from harness.files import write_text
from harness.lockfile.profiles import LockedProfile
from harness.lockfile.write import write_candidate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from harness.report.case_result import CaseResult

_log = logging.getLogger("harness")
_LOCK = ".lock"


class Results:
    """The folder with the reports, the candidate lockfile, and a folder for each case.

    Args:
        folder: path of the results; the first writing makes the folder.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        """Make the folder, with a `.gitignore` of its own. Raises MachineError when that fails."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            ignore = self.folder / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
        except OSError as error:
            raise MachineError(
                f"{self.folder}: results cannot be written there: {error.strerror}; "
                "name another folder with --gpu-profile-dir"
            ) from error

    @contextmanager
    def of_case(self, case_id: str) -> Iterator[None]:
        """Lock and empty a case's folder: other workers and runs may measure the same case."""
        self.prepare()
        folder = self.folder / case_id
        folder.mkdir(exist_ok=True)
        lock = FileLock(folder / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _log.warning(
                "%s: waiting for another process that measures it into %s", case_id, folder
            )
            lock.acquire()
        try:
            # Logs and plots of an earlier run would look like this run's.
            for path in folder.iterdir():
                if path.name != _LOCK:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            yield
        finally:
            lock.release()

    def write(self, results: Sequence[CaseResult], lock: Path) -> None:
        """Write report.json, report.md (also to GitHub's step summary) and candidate.lock.

        Each file is replaced in one piece. Raises HarnessError when one cannot be written.

        lock: the lockfile that an update would turn into the candidate.
        """
        self.prepare()
        text = json.dumps(report.render_json(results), indent=2, allow_nan=False) + "\n"
        write_text(self.folder / "report.json", text)
        markdown = report.render_markdown(results)
        write_text(self.folder / "report.md", markdown)
        write_candidate(self.folder / "candidate.lock", lock, lockable(results))
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            try:
                report.append_step_summary(markdown, Path(summary))
            except OSError as error:
                raise HarnessError(
                    f"{summary}, which GITHUB_STEP_SUMMARY names, cannot be written: "
                    f"{error.strerror}"
                ) from error


def lockable(results: Iterable[CaseResult]) -> list[LockedProfile]:
    """Return the profile of each measurement or prediction in which some batch trains."""
    return [
        LockedProfile.from_measurement(result.measurement)
        for result in results
        if result.measurement is not None and result.measurement.max_batch_size > 0
    ]
