"""The parent side of probes: ask a case's zygote for them, and put what becomes of them into words."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from harness import oom_killer
from harness.endings import UntraceableError, WorkloadError, died, killed_for_memory
from harness.errors import MachineError
from harness.measurement import LrCurve, Probe
from harness.predict.trace import Trace
from harness.zygote_process import ZygoteProcess

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from harness.devices.base import Device

# As many optimizer steps have the whole time-out; more of them have more.
_STEPS_PER_TIMEOUT = 20
_PROBE_FIELDS = {field.name for field in fields(Probe)}


@dataclass(frozen=True)
class Description:
    """What a workload is, as told by a process that set it up and trained nothing."""

    workload: dict[str, Any]
    fingerprint: str
    num_samples: int | None
    num_validation_samples: int | None
    validation: bool
    synthetic: bool
    num_workers: int
    """Of the training data's loader: processes that load it."""


@dataclass(frozen=True)
class Sweep:
    """The raw result of one learning-rate sweep, or why there is none."""

    curve: LrCurve | None
    refusal: str | None
    failure: Probe | None


class ProbeRunner:
    """A case's zygote and the probes it forks. Use as a context manager: nothing survives it.

    Args:
        workload: the case's `workload` mapping.
        device: where its probes run.
        trainer: the user's keywords of the Trainer.
        directory: where logs go; created.
        working_directory: the user's; None keeps this process's.
        sys_path: the module path of pytest, so that probes import what tests import.
        timeout: seconds that one probe may take.

    """

    def __init__(
        self,
        workload: Mapping[str, Any],
        device: Device,
        trainer: Mapping[str, Any],
        directory: Path,
        *,
        working_directory: Path | None = None,
        sys_path: Sequence[str] | None = None,
        timeout: float = 600.0,
    ) -> None:
        self.device = device
        self.trainer = dict(trainer)
        self.directory = directory
        self.timeout = timeout
        self.versions: dict[str, str] = {}
        self.torch_settings: dict[str, Any] = {}
        self.memory_limit_bytes: int | None = None
        self.afresh: str | None = None
        """What building the workload does that keeps its probes from being forked; told by the first probe."""
        self._case = {
            "workload": dict(workload),
            "sys_path": list(sys.path if sys_path is None else sys_path),
            "directory": None if working_directory is None else str(working_directory),
        }
        self._zygote = ZygoteProcess(directory)
        self._count = 0

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        ready = self._zygote.start(self._case, self.device.environment)
        self.versions, self.torch_settings = ready["versions"], ready["environment"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def describe(self) -> Description:
        """Set the workload up in a process of its own and say what it is.

        Raises WorkloadError when the user's set-up fails.
        """
        kills = oom_killer.count()
        answer, log, _ = self._ask({"task": "describe"}, "describe")
        result = _result("setting up the workload", answer, log, kills)
        if answer["result"] is None:
            raise WorkloadError(
                f"setting up the workload {result['detail']}; its output is in {log}", log=log
            )
        if result["outcome"] != "fits":
            raise WorkloadError(
                f"the workload cannot be set up: {result['detail']}", result["traceback"], log=log
            )
        self.memory_limit_bytes = result["memory_limit_bytes"]
        return Description(**{field.name: result[field.name] for field in fields(Description)})

    def train(
        self,
        batch_size: int,
        *,
        steps: int,
        validation_steps: int = 0,
        validation_batch_size: int | None = None,
        validation_share: float = 1.0,
        settle: bool = True,
        snapshot: Path | None = None,
    ) -> Probe:
        """Try one batch size.

        With `validation_batch_size` the probe is one of validation: that is the batch size it reports.
        During validation the limit is `validation_share` times the limit in training. With `settle`, further steps
        are run while the peak grows. With `snapshot`, a probe that
        runs out of memory leaves the allocator's history there. The time-out grows with `steps`.

        Raises MachineError when the machine is in the way, whatever the batch size.
        """
        varied = batch_size if validation_batch_size is None else validation_batch_size
        kind = "train" if validation_batch_size is None else "validation"
        request = {
            "task": "train",
            "batch_size": batch_size,
            "steps": steps,
            "settle": settle,
            "validation_steps": validation_steps,
            "validation_batch_size": validation_batch_size,
            "validation_share": validation_share,
            "snapshot": None if snapshot is None else str(snapshot.absolute()),
        }
        kills = oom_killer.count()
        answer, log, seconds = self._ask(request, f"{kind}-b{varied}", self._timeout_of(steps))
        result = _result(f"{kind} batch {varied}", answer, log, kills)
        self.memory_limit_bytes = result.get("memory_limit_bytes", self.memory_limit_bytes)
        return _probe(result, answer["phase"], batch_size=varied, kind=kind, log=log, seconds=seconds)

    def sweep(self, batch_size: int, learning_rates: Sequence[float], seed: int) -> Sweep:
        """Run one learning-rate sweep with a fresh module, one optimizer step per learning rate."""
        request = {
            "task": "lr_range",
            "batch_size": batch_size,
            "learning_rates": list(learning_rates),
            "seed": seed,
        }
        kills = oom_killer.count()
        num_steps = len(learning_rates)
        answer, log, seconds = self._ask(request, f"lr-seed{seed}-n{num_steps}", self._timeout_of(num_steps))
        result = _result(f"the LR sweep with seed {seed} at batch {batch_size}", answer, log, kills)
        if result["outcome"] != "fits":
            failure = _probe(result, answer["phase"], batch_size=batch_size, log=log, seconds=seconds)
            return Sweep(None, None, failure)
        if result["refusal"] is not None:
            return Sweep(None, result["refusal"], None)
        return Sweep(LrCurve(seed, tuple(result["learning_rates"]), tuple(result["losses"])), None, None)

    def trace(
        self, batch_sizes: Sequence[int], *, validation_steps: int, capability: tuple[int, int]
    ) -> list[Trace]:
        """Run two training steps on tensors without memory; return what they allocate and free on a GPU, per batch size.

        Each in a process of its own, side by side where the workload survives forks. `capability` is the GPU's compute
        capability, on which the choice of kernels depends.

        Raises UntraceableError when training depends on more than shapes, WorkloadError when it fails.
        """
        together = [batch_sizes] if self.afresh is None else [[size] for size in batch_sizes]
        traces: list[Trace] = []
        for sizes in together:
            files = [self.directory.absolute() / f"trace-b{size}.json" for size in sizes]
            request = {
                "task": "trace",
                "batch_sizes": list(sizes),
                "validation_steps": validation_steps,
                "files": [str(file) for file in files],
                "capability": list(capability),
            }
            name = f"trace-b{'-b'.join(map(str, sizes))}"
            kills = oom_killer.count()
            answer, log, _ = self._ask(request, name)
            _refuse_untraced(_result(f"the {name}", answer, log, kills), answer["phase"], log)
            traces += [Trace.from_json(json.loads(file.read_text(encoding="ascii"))) for file in files]
            for file in files:
                file.unlink()
        return traces

    def _timeout_of(self, steps: int) -> float:
        """Return seconds: a sweep is as many steps as a hundred probes, and a soak may be more."""
        return self.timeout * max(1, steps / _STEPS_PER_TIMEOUT)

    def close(self) -> None:
        """End the zygote and everything it started, and remove their temporary files."""
        self._zygote.close()

    def _ask(
        self, request: Mapping[str, Any], name: str, timeout: float | None = None
    ) -> tuple[dict[str, Any], str, float]:
        """Have one probe run; return the zygote's answer, the path of the log, and the seconds it took."""
        self._count += 1
        log = str(self.directory.absolute() / f"{self._count:03d}-{name}.log")
        Path(log).unlink(missing_ok=True)
        started = time.monotonic()
        whole = {**request, "bound": self.device.bound, "trainer": self.trainer, "log": log}
        answer = self._zygote.ask(whole, timeout or self.timeout)
        seconds = time.monotonic() - started
        self.device.settle()
        self.afresh = answer["afresh"]
        return answer, log, seconds


def _refuse_untraced(result: Mapping[str, Any], phase: str | None, log: str) -> None:
    if result["outcome"] == "fits":
        return
    where = f" in {phase}" if phase else ""
    detail, traceback = result["detail"], result.get("traceback") or ""
    if result["outcome"] == "dataset":
        raise UntraceableError(f"a trace takes more samples than there are: {detail}", traceback, log=log)
    kind = UntraceableError if result["outcome"] == "untraceable" else WorkloadError
    raise kind(f"the training cannot be traced{where}: {detail}", traceback, log=log)


def _result(what: str, answer: Mapping[str, Any], log: str, kills: int | None) -> dict[str, Any]:
    """Return what a probe says of itself, or else what its end says of it.

    Raises MachineError when that tells of the machine and not of the workload.
    """
    result: dict[str, Any] = answer["result"] or died(answer, log)
    trouble = result["detail"] if result["outcome"] == "machine" else killed_for_memory(answer, kills)
    if trouble is not None:
        where = f" in {answer['phase']}" if answer["phase"] else ""
        raise MachineError(f"{what} failed{where}: {trouble} (its output is in {log})")
    return result


def _probe(result: Mapping[str, Any], phase: str | None, **more: Any) -> Probe:
    """Make a Probe of a result, which may hold more than its fields; one that fits ended in no phase."""
    known = {name: value for name, value in result.items() if name in _PROBE_FIELDS}
    return Probe(**known | more | {"phase": None if result["outcome"] == "fits" else phase})
