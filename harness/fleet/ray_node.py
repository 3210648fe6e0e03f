"""Measures a case in a worker of Ray, which is set up for small tasks; runs on a node."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harness.fleet import on_node
from harness.fleet.survey import variables_of_ray

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.fleet.job import Job
    from harness.lockfile.profiles import LockedProfile
    from harness.matrix.case import Case

_THREADS = "OMP_NUM_THREADS"


def measure(case: Case, profiles: Sequence[LockedProfile], job: Job) -> Iterator[bytes]:
    """Measure a case as on a machine of one's own; yields what `on_node.measure` does."""
    enter_the_project()
    with _as_outside_of_ray():
        yield from on_node.measure(case, profiles, job)


def enter_the_project() -> None:
    """Go to Ray's copy of the project again if the folder was replaced since the worker began.

    Nodes that run on one machine share it, and each of them makes it anew.
    """
    try:
        Path.cwd()
    except FileNotFoundError:
        os.chdir(os.environ["PWD"])


@contextmanager
def _as_outside_of_ray() -> Iterator[None]:
    """Take back what Ray does to the speed of a task: one thread for each CPU that it asks for.

    Ray's workers are also nicer than all others of the machine. Only root can undo that.
    """
    threads = os.environ.get(_THREADS)
    if threads is not None and _THREADS not in variables_of_ray():  # else the user has set it
        del os.environ[_THREADS]
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, min(0, os.getpriority(os.PRIO_PROCESS, os.getppid())))
    try:
        yield
    finally:
        if threads is not None:
            os.environ[_THREADS] = threads
