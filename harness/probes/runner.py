"""Asks a case's zygote for probes, and turns their results into `Probe`s and errors."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Self, Unpack, cast, overload

from harness.errors import WorkloadError
from harness.probes import holders_probe, lr_probes, oom_kills
from harness.probes.answers import (
    Answer,
    GroupRates,
    Sweep,
    failed_probe,
    read_ending,
    trained_probe,
)
from harness.probes.description import Description
from harness.probes.ranks import log_of, zygote_of
from harness.probes.time_limits import STEPS_PER_TIMEOUT, refuse_after

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.devices.device import Device
    from harness.lr_range.rate_map import RateMap
    from harness.measurement import Probe, ProbeKind
    from harness.probes.kept_answers import KeptAnswers
    from harness.protocol.case import BoundSpec, CaseSpec, WorkloadSpec
    from harness.protocol.lr import RatesResult, RatesTask, SweepResult, SweepTask, TellSteps
    from harness.protocol.messages import (
        BucketBatch,
        DescribeResult,
        DescribeTask,
        Failure,
        HoldersResult,
        HoldersTask,
        InferTask,
        Request,
        Task,
        TrainResult,
        TrainTask,
    )

# The micro-batches after which a probe takes a step of `search.global_batch_size`. The first makes
# the gradients and the second runs beside them, as do all that follow, so no more memory is taken.
_SHORT_STEP = 2


class ProbeRunner:
    """A case's zygote and the probes it forks. A context manager: no process survives its block.

    Args:
        workload: the case's `workload` mapping.
        device: the device that its probes run on.
        trainer: the user's keyword arguments of the Trainer.
        directory: the folder for logs; it is created.
        working_directory: the working directory of probes; None keeps this process's.
        sys_path: the module path of pytest, so that probes import what tests import.
        timeout: seconds that one probe may take.
        global_batch_size: samples of an optimizer step; None: `trainer` has the micro-batches.

    """

    def __init__(
        self,
        workload: WorkloadSpec,
        device: Device,
        trainer: Mapping[str, Any],
        directory: Path,
        *,
        working_directory: Path | None = None,
        sys_path: Sequence[str] | None = None,
        timeout: float = 600.0,
        global_batch_size: int | None = None,
    ) -> None:
        self.device = device
        self.global_batch_size = global_batch_size
        self.trainer = dict(trainer)
        self.directory = directory
        self.timeout = timeout
        self.versions: dict[str, str] = {}
        self.memory_limit_bytes: int | None = None
        self.afresh: str | None = None
        """Why its probes cannot be forked, such as `starts CUDA`; None if they can."""
        self.bound: BoundSpec | None = None
        """The memory bound of probes, in place of the device's own; None: the device's."""
        self.kept: KeptAnswers | None = None
        """The answers that probes need not give again; None: every probe runs."""
        self.deadline: float | None = None
        """When no probe begins any more, by the monotonic clock; None: never."""
        self._case: CaseSpec = {
            "workload": workload,
            "sys_path": list(sys.path if sys_path is None else sys_path),
            "directory": None if working_directory is None else str(working_directory),
            "scratch": None,
        }
        # The zygote has built the first workload; probes build a later one by themselves.
        self._built_afterwards: WorkloadSpec | None = None
        self._zygote = zygote_of(directory, device, workload)
        self._built_for = device.stands_for
        self.num_probes = 0
        """The probes so far, kept answers among them; the names of their logs begin with it."""

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.versions = self._zygote.start(self._case, self.device.environment)["versions"]
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def reused_seconds(self) -> float:
        """The seconds that the probes took whose kept answers stand for them."""
        return 0.0 if self.kept is None else self.kept.reused.seconds

    def close(self) -> None:
        """End the zygote and everything it started, and remove their temporary files."""
        self._zygote.close()

    def turn_to(
        self,
        workload: WorkloadSpec,
        trainer: Mapping[str, Any],
        directory: Path,
        *,
        timeout: float,
        global_batch_size: int | None,
    ) -> None:
        """Serve another workload from now on; arguments as in the constructor.

        Each probe builds it by itself. That takes less time than a zygote of its own, which would
        import everything anew.
        """
        # What a constructor asks of the world of ranks is another answer in another world.
        same = (workload, self.device.stands_for) == (self._case["workload"], self._built_for)
        self._built_afterwards = None if same else workload
        self.trainer, self.directory, self.timeout = dict(trainer), directory, timeout
        self.global_batch_size = global_batch_size
        directory.mkdir(parents=True, exist_ok=True)

    def describe(self, batch_size: int = 1) -> Description:
        """Set up the workload in a process of its own and return its description.

        batch_size: that of a command or a training, which are made with one.

        Raises WorkloadError when the set-up fails, MachineError when the machine is at fault.
        """
        what = "setting up the workload"
        task: DescribeTask = {"task": "describe", "batch_size": batch_size}
        answer = self.ask(task, what, "describe")
        if answer.death is not None:
            raise WorkloadError(
                f"{what} {answer.death['detail']}; its output is in {answer.log}", log=answer.log
            )
        result = answer.result
        assert result is not None, "a probe answers or dies"
        if result["outcome"] != "fits":
            raise WorkloadError(
                f"the workload cannot be set up: {result['detail']}",
                result["traceback"] or "",
                log=answer.log,
            )
        self.memory_limit_bytes = result["memory_limit_bytes"]
        self.versions |= result.get("versions", {})
        return Description.of(result, self.device.identity.count)

    def train(
        self,
        batch_size: int,
        *,
        steps: int,
        epoch_steps: int = 0,
        validation_steps: int = 0,
        validation_batch_size: int | None = None,
        validation_share: float = 1.0,
        settle: bool = True,
        short_steps: bool = True,
        snapshot: Path | None = None,
        history: Path | None = None,
        timed_seconds: float | None = None,
        buckets: Sequence[BucketBatch] = (),
    ) -> Probe:
        """Probe one batch size: train it and report how that ended.

        steps: effective optimizer steps; the time-out grows with them.
        epoch_steps: let epochs end, and take the steps of one, up to this number; 0: endless data.
        validation_steps: validation batches after these steps.
        validation_batch_size: makes this a probe of validation, which reports this batch size.
        validation_share: the limit during validation, as a share of training's.
        settle: run further steps while the peak grows.
        short_steps: end a step of `global_batch_size` as soon as its memory is seen.
        snapshot: the file for the allocator's history, written when the training fails.
        history: the file for the sizes of all blocks, written when it fits, for a `BlockHistory`.
        timed_seconds: time the steps, the first ones left out, for at least so long.
        buckets: as in a `TrainTask`.

        Raises MachineError when the machine is at fault, whatever the batch size.
        """
        varied = validation_batch_size or batch_size
        kind: ProbeKind = "train" if validation_batch_size is None else "validation"
        task: TrainTask = {
            "task": "train",
            "batch_size": batch_size,
            "steps": steps,
            "epoch_steps": epoch_steps,
            "settle": settle,
            "validation_steps": validation_steps,
            "validation_batch_size": validation_batch_size,
            "validation_share": validation_share,
            "snapshot": None if snapshot is None else str(snapshot.absolute()),
            "history": None if history is None else str(history.absolute()),
            "micro_batches": self._short_step if short_steps else None,
        }
        if timed_seconds is not None:
            task["timed_seconds"] = timed_seconds
        if buckets:
            task["buckets"] = list(buckets)
        name = f"{kind if timed_seconds is None else 'timed'}-b{varied}"
        limit = self._timeout_of(steps, epoch_steps, validation_steps)
        answer = self.ask(task, f"{kind} batch {varied}", name, limit)
        if (result := answer.result) is None:
            return failed_probe(answer, answer.death, varied, kind)
        self.memory_limit_bytes = result["memory_limit_bytes"]
        return trained_probe(answer, result, varied, kind)

    def sweep(
        self,
        batch_size: int,
        learning_rates: Sequence[float],
        seed: int,
        rate_map: RateMap | None = None,
        *,
        tell_steps: TellSteps | None = None,
        **options: Unpack[lr_probes.SweepOptions],
    ) -> Sweep:
        """Train at given learning rates, as `lr_probes.sweep` describes it."""
        return lr_probes.sweep(
            partial(self.ask, tell_steps=tell_steps),
            batch_size,
            learning_rates,
            seed,
            rate_map,
            timeout=self._timeout_of(len(learning_rates)),
            **options,
        )

    def group_rates(self, batch_size: int, values: Sequence[float] = ()) -> GroupRates:
        """Read the rates of the optimizer's groups, as `lr_probes.group_rates` describes it."""
        return lr_probes.group_rates(self.ask, batch_size, values)

    def holders(
        self, batch_size: int, *, steps: int = 2, **options: Unpack[holders_probe.HoldersOptions]
    ) -> Probe:
        """Write what holds the memory at the peak, as `holders_probe.holders` describes it."""
        return holders_probe.holders(
            partial(self.ask, timeout=self._timeout_of(steps)),
            batch_size,
            steps=steps,
            micro_batches=self._short_step,
            **options,
        )

    @overload
    def ask(
        self, task: DescribeTask, what: str, name: str, timeout: float | None = None
    ) -> Answer[DescribeResult | Failure]: ...
    @overload
    def ask(
        self, task: TrainTask | InferTask, what: str, name: str, timeout: float | None = None
    ) -> Answer[TrainResult]: ...
    @overload
    def ask(
        self,
        task: SweepTask,
        what: str,
        name: str,
        timeout: float | None = None,
        tell_steps: TellSteps | None = None,
    ) -> Answer[SweepResult | Failure]: ...
    @overload
    def ask(
        self, task: RatesTask, what: str, name: str, timeout: float | None = None
    ) -> Answer[RatesResult | Failure]: ...
    @overload
    def ask(
        self, task: HoldersTask, what: str, name: str, timeout: float | None = None
    ) -> Answer[HoldersResult | Failure]: ...
    def ask(
        self,
        task: Task,
        what: str,
        name: str,
        timeout: float | None = None,
        tell_steps: TellSteps | None = None,
    ) -> Answer[Any]:
        """Run one probe, unless its answer was kept, and wait until the device is as it was before.

        what: the probe in words, for errors.
        name: part of its log's name.
        timeout: in seconds; None is the runner's.
        tell_steps: called with the number of steps that a sweep has done.

        Raises WorkloadError when the zygote has died, OutOfTimeError, and those of `read_ending`.
        """
        self.num_probes += 1
        path = self.directory.absolute() / f"{self.num_probes:03d}-{name}.log"
        started = time.monotonic()
        kills = oom_kills.count()
        request = {
            **task,
            "bound": self.bound or self.device.bound,
            "trainer": self._trainer_at(task.get("batch_size")),
            "workload": self._built_afterwards,
        }
        if self.kept is not None and (known := self.kept.take(request, self.directory)) is not None:
            return known
        refuse_after(self.deadline, what)
        limit = self.timeout if timeout is None else timeout
        ending, self.afresh = self._zygote.ask(cast("Request", request), path, limit, tell_steps)
        seconds = time.monotonic() - started
        self.device.settle()
        answer = read_ending(ending, what, log_of(ending, path), seconds, kills)
        if self.kept is not None:
            self.kept.keep(request, answer)
        return answer

    @property
    def _short_step(self) -> int | None:
        return None if self.global_batch_size is None else _SHORT_STEP

    def _trainer_at(self, batch_size: Any) -> dict[str, Any]:
        """Return the Trainer's keywords at a batch size; describing a workload has none."""
        if self.global_batch_size is None or batch_size is None:
            return self.trainer
        return self.trainer | {"accumulate_grad_batches": -(-self.global_batch_size // batch_size)}

    def _timeout_of(self, *steps: int) -> float:
        """Return the seconds for a probe of this many steps: sweeps and soaks need more."""
        return self.timeout * max(1, max(steps) / STEPS_PER_TIMEOUT)
