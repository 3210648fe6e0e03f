"""Runs checks one after the other: none of them can raise, or keep the others waiting for ever."""

from __future__ import annotations

import subprocess
import threading
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from harness.matrix.case import Case
    from harness.run.paths import Paths

Level = Literal["ok", "note", "wrong"]

CHILD_SECONDS = 20.0
"""How long a child process may take: torch is read from a cold disk, perhaps from a network's."""
CHECK_SECONDS = 30.0
"""The same for a check: a driver that hangs never answers, nor does a dead disk of a network."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has found: one line, and what to do where it is not ok."""

    level: Level
    found: str
    remedy: str = ""
    """Empty where `found` says it, as the message of a HarnessError does."""


class Project:
    """The matrix and the other paths of a project, found and read once for all checks.

    Args:
        find: returns the paths; it may raise HarnessError.

    """

    def __init__(self, find: Callable[[], Paths]) -> None:
        self._find = find

    @cached_property
    def paths(self) -> Paths:
        """The paths of a run started here. Raises HarnessError where nobody can tell."""
        return self._find()

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """The matrix's cases; none where there is no matrix, or a wrong one."""
        try:
            return self.paths.cases()
        except HarnessError:
            return ()

    @property
    def folder(self) -> Path | None:
        """The root of the project; None where nobody can tell."""
        try:
            return self.paths.root
        except HarnessError:
            return None


Check = tuple[str, "Callable[[Project], Iterable[Finding]]"]
"""The name of a check, and its function."""


def run_child(
    command: Sequence[str], *, folder: Path | str | None = None, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with a text on its standard input.

    Raises subprocess.TimeoutExpired after CHILD_SECONDS, and OSError where it cannot be started.
    """
    return subprocess.run(
        command,
        cwd=folder,
        input=given,
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=CHILD_SECONDS,
    )


def run_checks(
    checks: Iterable[Check], project: Project, seconds: float = CHECK_SECONDS
) -> Iterator[tuple[str, Finding]]:
    """Yield what the checks find, with the name of each.

    A check that raises, or that has not ended after `seconds`, is a finding itself.
    """
    for name, check in checks:
        found: list[Finding] = []
        # A daemon: a call into a driver that hangs must not keep this process.
        thread = threading.Thread(target=_collect, args=(check, project, found), daemon=True)
        thread.start()
        thread.join(seconds)
        hangs = thread.is_alive()
        for finding in [*found]:
            yield name, finding
        if hangs:
            yield (
                name,
                Finding(
                    "wrong",
                    f"this check has not ended after {seconds:.0f} s",
                    "see whether `nvidia-smi` answers, and `df` for disks of a network; reboot "
                    "where the driver hangs",
                ),
            )


def _collect(
    check: Callable[[Project], Iterable[Finding]], project: Project, into: list[Finding]
) -> None:
    try:
        into.extend(check(project))
    except HarnessError as error:
        into.append(Finding("wrong", str(error)))
    except Exception as error:  # noqa: BLE001 - whatever is broken here, the other checks go on
        into.append(
            Finding(
                "wrong",
                f"this check itself failed: {type(error).__name__}: {error}",
                "nothing is known here; report this line to the authors of pytest-gpu-profile",
            )
        )
