"""Writes the results of a run into their folder."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness import page, report
from harness.errors import HarnessError
from harness.file_locks import WAIT_SECONDS
from harness.files import write_parts, write_text
from harness.lockfile.profiles import LockedProfile
from harness.lockfile.write import write_candidate
from harness.probes.kept_answers import NAME
from harness.probes.kept_lines import LOG
from harness.run.results_folder import case_folder, make_plain_folder, make_results_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

    from harness.lockfile.precisions import Recommendation
    from harness.matrix.presets import Preset
    from harness.measurement import Measurement
    from harness.report.case_result import CaseResult

PAGE = "report.html"
WRITTEN = ("report.json", "report.md", "candidate.lock", PAGE)


class Results:
    """The folder with the reports, the candidate lockfile, and a folder for each case.

    Args:
        folder: path of the results; the first writing makes the folder.
        wait_seconds: how long to wait for another run that measures the same case there.

    """

    def __init__(self, folder: Path, wait_seconds: float = WAIT_SECONDS) -> None:
        self.folder = folder
        self._wait_seconds = wait_seconds
        self._reported: tuple[Sequence[CaseResult], Preset | None] | None = None

    @property
    def has_page(self) -> bool:
        """Whether there is a page of this run: an earlier run's is removed."""
        return (self.folder / PAGE).exists()

    @property
    def are_written(self) -> bool:
        """Whether an earlier run has left its reports."""
        return (self.folder / "report.json").exists()

    def of_case(self, case_id: str, *, emptied: bool = True) -> AbstractContextManager[None]:
        """Lock and empty a case's folder; errors are those of `case_folder`.

        The kept answers of an earlier run stay, and the logs to which they may refer. Where the
        folder is not emptied, its other files stay too, for the caller to replace.
        """
        make_results_folder(self.folder, WRITTEN)
        logs = LOG if emptied else None
        return case_folder(self.folder / case_id, NAME, logs, self._wait_seconds)

    def beside(self, name: str, case_id: str) -> Path:
        """Return another folder with a folder for the case; what is in it stays."""
        make_results_folder(self.folder, WRITTEN)
        make_plain_folder(self.folder / name)
        make_plain_folder(self.folder / name / case_id)
        return self.folder / name

    def folder_of_loggers(self) -> Path:
        """Return the folder of what loggers print; raises MachineError where it cannot be made."""
        make_results_folder(self.folder, WRITTEN)
        folder = self.folder / "loggers"
        make_plain_folder(folder)
        return folder

    def write(
        self,
        results: Sequence[CaseResult],
        lock: Path,
        preset: Preset | None = None,
        recommendations: Sequence[Recommendation] = (),
    ) -> None:
        """Write report.json, report.md (also to GitHub's step summary) and candidate.lock.

        Each file is replaced in one piece, also where it is a link. Raises HarnessError when one
        cannot be written.

        lock: the lockfile that an update would turn into the candidate.
        """
        make_results_folder(self.folder, WRITTEN)
        parts = report.json_parts(results, preset, recommendations)
        write_parts(self.folder / "report.json", parts, follow=False)
        header = {"preset": preset} if preset else None
        markdown = report.render_markdown(results, header, recommendations)
        write_text(self.folder / "report.md", markdown, follow=False)
        write_candidate(self.folder / "candidate.lock", lock, lockable(results))
        self._reported = results, preset
        # It would show other results.
        (self.folder / PAGE).unlink(missing_ok=True)
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            try:
                report.append_step_summary(markdown, Path(summary))
            except OSError as error:
                raise HarnessError(
                    f"{summary}, which GITHUB_STEP_SUMMARY names, cannot be written: "
                    f"{error.strerror}"
                ) from error

    def write_page(self, lock: Path) -> tuple[str, ...]:
        """Write the page of what was reported, where the extra that makes it is installed.

        Returns why there is none: a failing page fails no run.

        lock: the lockfile whose history the page shows.
        """
        if self._reported is None:
            return ()
        try:
            if not page.is_available():
                return ()
            results, preset = self._reported
            shown = page.first_shown(results, lambda one: (one.status, one.case_id))
            left_out = Counter[str](one.status for one in results)
            left_out -= Counter[str](one.status for one in shown)
            reported = page.report_of(report.render_json(shown, preset), left_out=left_out)
            page.write_page(self.folder / PAGE, reported, page.lock_history_of(lock))
        except Exception as error:  # noqa: BLE001 - whatever it is, the results are written
            return (f"{PAGE} is not written: {str(error) or type(error).__name__}",)
        return ()


def lockable(results: Iterable[CaseResult]) -> list[LockedProfile]:
    """Return the profile of each measurement or prediction in which some batch trains."""
    return [
        _profile_of(result.measurement, result.locked)
        for result in results
        if result.measurement is not None and result.measurement.max_batch_size > 0
    ]


def _profile_of(measurement: Measurement, locked: LockedProfile | None) -> LockedProfile:
    """Return what an update locks; a learning rate that was confirmed stays as it is locked.

    It would else move by chance with each update.
    """
    profile = LockedProfile.from_measurement(measurement)
    if locked is None or not measurement.lr_confirmed:
        return profile
    kept = profile.with_learning_rate_of(locked)
    # A lock of an earlier version has none.
    return replace(kept, group_learning_rates=measurement.group_rates_at_locked)
