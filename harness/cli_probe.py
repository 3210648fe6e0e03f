"""The verb `gpu-profile probe`, and what other verbs need to build a case's workload."""

from __future__ import annotations

import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.endings import WorkloadError
from harness.errors import HarnessError
from harness.lock_text import shown_path
from harness.mistakes import nearest
from harness.predict.case import UNBOUNDED
from harness.profile import open_runner
from harness.progress import describe_probe
from harness.session import Session

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from harness.matrix import Case
    from harness.probe import ProbeRunner
    from harness.session import Paths


def probe(options: argparse.Namespace, paths: Paths) -> int:
    """Try one batch size with the case's own settings; its output is kept beside that of runs."""
    if options.batch_size < 1:
        raise HarnessError(f"--batch-size {options.batch_size} is not allowed; a whole number from 1")
    session = Session(paths)
    case = find_case(session, options.case, paths)
    device = session.device(case)
    session.prepare_results()
    # A folder of its own: the logs of the case's last run stay as they are.
    surroundings = replace(paths.surroundings, directory=paths.results / "probe")
    try:
        with device.hold(), open_runner(case, device, surroundings) as runner:
            validates = case.search.validation is True and runner.describe().validation
            done = runner.train(
                options.batch_size, steps=case.search.steps_per_trial, validation_steps=int(validates)
            )
    except WorkloadError as error:
        sys.stderr.write(error.detail)
        raise
    if (
        done.traceback and done.outcome != "dataset"
    ):  # raised by the loader of the probe, not by the user's code
        sys.stderr.write(done.traceback)
    say(f"{case.id}: {describe_probe(done, runner.memory_limit_bytes)}")
    say(f"output: {shown_path(Path(done.log or ''))}")
    return int(done.outcome != "fits")


def find_case(session: Session, name: str, paths: Paths) -> Case:
    """Return the case of this id; raises HarnessError naming the nearest one."""
    cases = {case.id: case for case in session.cases}
    if name not in cases:
        known = nearest(name, cases, "cases")
        raise HarnessError(f"{shown_path(paths.matrix)} has no case {name}; {known}")
    return cases[name]


@contextmanager
def open_unbounded(paths: Paths, case: Case) -> Iterator[ProbeRunner]:
    """Open a case's zygote on the CPU where nothing is trained that takes memory: without a limit, and without logs."""
    with tempfile.TemporaryDirectory() as folder:
        surroundings = replace(paths.surroundings, directory=Path(folder))
        with open_runner(case, UNBOUNDED, surroundings) as runner:
            yield runner


def say(text: str) -> None:
    """Print a line at once: some verbs build workloads for seconds between two of them."""
    print(text, flush=True)  # noqa: T201 - what the command is for
