"""The verb `gpu-profile probe`: tries one batch size of one case."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.batch_search.training import train
from harness.cli.common import find_case, say, say_aside
from harness.devices.finding import find_device
from harness.errors import HarnessError, WorkloadError
from harness.probes.open_cases import open_case
from harness.probes.outcomes import describe_probe
from harness.run.results import Results
from harness.wording import shown_path

if TYPE_CHECKING:
    import argparse

    from harness.run.paths import Paths


def probe(options: argparse.Namespace, paths: Paths) -> int:
    """Try one batch size with the case's own settings; keep the output beside that of runs."""
    if options.batch_size < 1:
        raise HarnessError(
            f"--batch-size {options.batch_size} is not allowed; a whole number from 1"
        )
    case = find_case(options.case, paths)
    device = find_device(case.device, case.search.target_memory_fraction)
    # A separate folder: the logs of the case's last run stay as they are.
    folder = Results(paths.results).beside("probe", case.id)
    surroundings = replace(paths.surroundings, directory=folder)
    try:
        with device.hold(), open_case(case, device, None, surroundings) as opened:
            done = train(opened, options.batch_size)
            if done.growth is not None:
                done = train(opened, options.batch_size, whole_epochs=True)
    except WorkloadError as error:
        say_aside(error.detail)
        raise
    # The traceback of the outcome `dataset` shows only gpu-profile's own loader.
    if done.traceback and done.outcome != "dataset":
        say_aside(done.traceback)
    say(f"{case.id}: {describe_probe(done, opened.runner.memory_limit_bytes)}")
    say(f"output: {shown_path(Path(done.log or ''))}")
    return int(done.outcome != "fits")
