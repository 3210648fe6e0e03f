"""The verb `gpu-profile probe`: tries one batch size of one case."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from harness.batch_search.training import train
from harness.cli.answers.answer import Answer
from harness.cli.common import find_case, say, say_aside
from harness.device_identity import DeviceIdentity
from harness.devices.finding import find_device
from harness.errors import HarnessError, WorkloadError
from harness.measurement import Probe
from harness.probes.open_cases import open_case
from harness.probes.outcomes import describe_probe
from harness.report.json_report import shown_probe
from harness.run.results import Results
from harness.wording import shown_path

if TYPE_CHECKING:
    import argparse

    from harness.run.paths import Paths


class ProbeDocument(TypedDict):
    """The answer of `probe`."""

    case: str
    device: DeviceIdentity
    memory_limit_bytes: int | None
    """null where the probe ended before it was known."""
    probe: Probe


def probe(options: argparse.Namespace, paths: Paths) -> Answer:
    """Try one batch size with the case's own settings; keep the output beside that of runs."""
    if options.batch_size < 1:
        raise HarnessError(
            f"--batch-size {options.batch_size} is not allowed; a whole number from 1"
        )
    case = find_case(options.case, paths)
    device = find_device(case.device, case.search.target_memory_fraction, count=case.num_ranks)
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
    document: ProbeDocument = {
        "case": case.id,
        "device": device.identity,
        "memory_limit_bytes": opened.runner.memory_limit_bytes,
        "probe": shown_probe(done),
    }
    return Answer(int(done.outcome != "fits"), document)
