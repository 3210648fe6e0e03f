"""Opens cases on simulated GPUs: one zygote serves all GPUs and resolutions of a model."""

from __future__ import annotations

import logging
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from harness.batch_search.histories import recorded_histories
from harness.errors import HarnessError, NotOfferedError, RanksDifferError, WorkloadError
from harness.predict.device import SimulatedDevice
from harness.probes.open_cases import OpenCase, describe, open_runner
from harness.progress.events import tell_phase
from harness.simulated.layout import MAX_GPUS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.batch_search.histories import Histories
    from harness.lockfile.profiles import LockedProfile
    from harness.matrix.case import Case
    from harness.predict.gpus import GpuFacts
    from harness.probes.open_cases import Surroundings
    from harness.probes.runner import ProbeRunner


_log = logging.getLogger("harness")


@dataclass(frozen=True)
class SimulatedCase:
    """A case that is open on a simulated GPU."""

    opened: OpenCase
    device: SimulatedDevice
    histories: Histories
    """What its probes have recorded, also those on the GPUs before this one."""


class Simulation:
    """A zygote in a simulated world. A context manager: no process survives it.

    Cases of other GPUs, resolutions and numbers of ranks are served by the same zygote; for another
    model it ends, and the next one starts.

    Args:
        every_rank: run each rank of a case in a process of its own; else rank 0 stands for all.

    """

    def __init__(self, *, every_rank: bool = False) -> None:
        self._every_rank = every_rank
        self._differing: list[object] = []
        """What has ranks that differ, so that all of them run."""
        self._zygote = ExitStack()
        self._key: object = None
        """What the zygote is for."""
        self._runner: ProbeRunner | None = None
        self._device: SimulatedDevice | None = None
        self._case = ExitStack()
        self._last: SimulatedCase | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the zygote."""
        self._last = self._key = None
        self._case.close()
        self._zygote.close()

    def open(
        self,
        case: Case,
        gpu: GpuFacts,
        locked: LockedProfile | None,
        surroundings: Surroundings,
    ) -> SimulatedCase:
        """Open a case on a GPU; the case of an earlier call is closed by that.

        locked: the profile that the prediction is compared with.

        Raises HarnessError where a simulated GPU cannot be had here, WorkloadError when the
        workload cannot be built or set up, MachineError when the machine is at fault.
        """
        with self.closed_by_errors():
            try:
                return self._open(case, gpu, locked, surroundings)
            except WorkloadError as error:
                if self._runs_all(case) or _DIFFERS not in str(error):
                    raise
                if case.num_ranks > MAX_GPUS:
                    raise HarnessError(f"{case.id}: {str(error).partition(_DIFFERS)[2]}") from error
            self._differing.append(_imported(case))
            return self._open(case, gpu, locked, surroundings)

    @contextmanager
    def closed_by_errors(self) -> Iterator[None]:
        """End the zygote if the block raises: its next case must not suffer from this one."""
        try:
            yield
        except NotOfferedError:
            raise  # a probe has said so, and the zygote is as before
        except BaseException:
            self.close()
            raise

    def _runs_all(self, case: Case) -> bool:
        # The program of a command starts all of its ranks.
        starts_them = case.workload.get("command") is not None and case.num_ranks > 1
        return self._every_rank or starts_them or _imported(case) in self._differing

    def _open(
        self,
        case: Case,
        gpu: GpuFacts,
        locked: LockedProfile | None,
        surroundings: Surroundings,
    ) -> SimulatedCase:
        key = (
            _imported(case),
            case.num_ranks if self._runs_all(case) else None,
            surroundings.working_directory,
            surroundings.sys_path,
        )
        if self._key != key:
            self.close()
            folder = self._zygote.enter_context(tempfile.TemporaryDirectory(prefix="gpu-profile-"))
            self._device = SimulatedDevice(
                case, gpu, Path(folder) / "world", every_rank=self._runs_all(case)
            )
            tell_phase(case.id, "building the workload")
            _log.info("%s: building the workload", case.id)
            self._runner = self._zygote.enter_context(open_runner(case, self._device, surroundings))
            self._key = key
        runner, device = self._runner, self._device
        assert runner is not None
        assert device is not None
        device.become(case, gpu)
        directory = surroundings.directory / case.id
        runner.turn_to(
            case.probed_workload,
            case.trainer,
            directory,
            timeout=case.search.probe_timeout,
            global_batch_size=case.search.global_batch_size,
        )
        last = self._last
        if last is None or not _same_training(case, last.opened.case):
            self._case.close()
            self._last = None
            opened = OpenCase(case, runner, describe(case, runner), locked, surroundings)
            allow = case.search.allow_thrashing
            kept = self._case.enter_context(recorded_histories(runner, allow_thrashing=allow))
            last = SimulatedCase(opened, device, kept)
        runner.memory_limit_bytes = device.limit_bytes
        opened = replace(last.opened, case=case, locked=locked, surroundings=surroundings)
        self._last = replace(last, opened=opened)
        return self._last


_DIFFERS = f"{RanksDifferError.__name__}: "


def _imported(case: Case) -> list[str | None]:
    """Return the class paths of a workload: what its zygote imports."""
    spec = case.workload
    parts = (
        *(spec["module"], spec["data"], spec["loss"], spec["optimizer"]),
        spec.get("collate_fn"),
        spec.get("training"),
    )
    command = spec.get("command")
    program = None if command is None else command[0]
    return [program, *(None if part is None else part["class_path"] for part in parts)]


def _same_training(case: Case, other: Case) -> bool:
    """Return whether two cases differ in their GPU alone."""
    return (case.workload, case.trainer, case.search) == (
        other.workload,
        other.trainer,
        other.search,
    )
