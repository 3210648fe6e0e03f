"""Opens a case: starts its zygote and describes its workload, for measuring and predicting."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.probes.runner import ProbeRunner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.devices.device import Device
    from harness.lockfile.profiles import LockedProfile
    from harness.matrix.case import Case
    from harness.probes.description import Description
    from harness.protocol.case import BucketSpec
    from harness.protocol.messages import BucketBatch


@dataclass(frozen=True)
class Surroundings:
    """The folders and the module path of a run's probes."""

    directory: Path
    """The folder of the run's results; each case has a folder of its own in it."""
    working_directory: Path
    """The user's, as in training."""
    sys_path: tuple[str, ...]
    """pytest's module path."""
    run: str = ""
    """The id of the run, which all of xdist's workers share."""
    deadline: float | None = None
    """When probes stop to begin, by the monotonic clock; None: never."""

    def below(self, name: str) -> Surroundings:
        """Return the same with another folder of results, below this one."""
        return replace(self, directory=self.directory / name)


@dataclass(frozen=True)
class OpenCase:
    """A case, its running zygote, and the description of its workload."""

    case: Case
    runner: ProbeRunner
    description: Description
    locked: LockedProfile | None
    """The committed profile on this device."""
    surroundings: Surroundings
    bucket: BucketSpec | None = None
    """The bucket on whose data its probes train; None: on those of the workload."""
    in_turn: tuple[BucketBatch, ...] = ()
    """The batches of all buckets, on which its probes train in turn."""

    def bucket_batches(self, batch_size: int) -> tuple[BucketBatch, ...]:
        """Return the batches of buckets for a probe of this size; none for the workload's own."""
        if self.bucket is None:
            return self.in_turn
        return ({"bucket": self.bucket, "batch_size": batch_size},)

    @property
    def validation_steps(self) -> int:
        """The validation batches of a training probe: 0 if the case does not validate in it."""
        search = self.case.search
        validates = search.validation is True and self.description.validation
        return search.validation_steps if validates else 0


@contextmanager
def open_case(
    case: Case, device: Device, locked: LockedProfile | None, surroundings: Surroundings
) -> Iterator[OpenCase]:
    """Start a case's zygote and describe its workload; no process survives the block.

    Raises WorkloadError when the workload cannot be built or set up, MachineError when the machine
    is at fault.
    """
    with open_runner(case, device, surroundings) as runner:
        yield OpenCase(case, runner, describe(case, runner), locked, surroundings)


def describe(case: Case, runner: ProbeRunner) -> Description:
    """Describe a case's workload; a command or a training at the first batch of a search."""
    search = case.search
    size = max(search.min_batch_size, min(search.init_val, search.max_batch_size))
    rounded = -(-size // search.round_to) * search.round_to
    return runner.describe(rounded if rounded <= search.max_batch_size else size)


def open_runner(case: Case, device: Device, surroundings: Surroundings) -> ProbeRunner:
    """Return a runner of the case, to be entered as a context manager."""
    runner = ProbeRunner(
        case.probed_workload,
        device,
        case.trainer,
        surroundings.directory / case.id,
        working_directory=surroundings.working_directory,
        sys_path=surroundings.sys_path,
        timeout=case.search.probe_timeout,
        global_batch_size=case.search.global_batch_size,
    )
    runner.deadline = surroundings.deadline
    return runner
