"""The parent side of probes: start a case's zygote, ask for probes, watch, time out, clean up, read results."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from harness import oom_killer
from harness.endings import WorkloadError, died, ending, killed_for_memory
from harness.errors import HarnessError, MachineError
from harness.measurement import LrCurve, Probe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from harness.devices.base import Device

# Importing torch and Lightning and building the model on a loaded machine; a hang is caught, slowness is not.
_BUILD_TIMEOUT = 600.0
# How long a zygote that was told to go may take to kill its probe and remove its files.
_GOODBYE = 10.0
# Loader workers name sockets below the temporary folder, pymp-XXXXXXXX/listener-XXXXXXXX, and hang where that is longer
# than the 107 bytes that Linux takes.
_MAX_SCRATCH_LENGTH = 74
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
        self._process: subprocess.Popen[bytes] | None = None
        self._probe_pid: int | None = None
        self._scratch: str | None = None
        self._buffer = b""
        self._count = 0
        self._kills: int | None = None

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._scratch = _make_scratch()
        try:
            self._start()
        except BaseException:
            self.close()
            raise
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
        snapshot: Path | None = None,
    ) -> Probe:
        """Try one batch size.

        With `validation_batch_size` the probe is one of validation: that is the batch size it reports.
        During validation the limit is `validation_share` times the limit in training. With `snapshot`, a probe that
        runs out of memory leaves the allocator's history there. The time-out grows with `steps`.

        Raises MachineError when the machine is in the way, whatever the batch size.
        """
        varied = batch_size if validation_batch_size is None else validation_batch_size
        kind = "train" if validation_batch_size is None else "validation"
        request = {
            "task": "train",
            "batch_size": batch_size,
            "steps": steps,
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

    def _timeout_of(self, steps: int) -> float:
        """Return seconds: a sweep is as many steps as a hundred probes, and a soak may be more."""
        return self.timeout * max(1, steps / _STEPS_PER_TIMEOUT)

    def close(self) -> None:
        """End the zygote and everything it started, and remove their temporary files."""
        process, self._process = self._process, None
        try:
            if process is not None:
                assert process.stdin is not None
                assert process.stdout is not None
                with suppress(BrokenPipeError):
                    process.stdin.close()  # the zygote reads this as: clean up and go
                if not self.versions:
                    process.terminate()  # it is still building, and reads nothing
                try:
                    process.wait(_GOODBYE)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)  # with what the user's constructors started
                    process.wait()
                finally:
                    process.stdout.close()
        finally:
            if self._probe_pid is not None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._probe_pid, signal.SIGKILL)
                self._probe_pid = None
            if self._scratch is not None:
                shutil.rmtree(self._scratch, ignore_errors=True)
                self._scratch = None

    def _start(self) -> None:
        log = self.directory / "zygote.log"
        package_root = str(Path(__file__).parent.parent)
        path = os.environ.get("PYTHONPATH")
        environment = os.environ | dict(self.device.environment)
        environment |= {
            "PYTHONPATH": package_root if not path else package_root + os.pathsep + path,
            "TMPDIR": str(self._scratch),
        }
        self._kills = oom_killer.count()
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                # -P: a package of the user's that is called harness must not come before this one.
                [sys.executable, "-P", "-m", "harness.zygote"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=environment,
                start_new_session=True,
            )
        self._send(self._case | {"scratch": self._scratch})
        answer = self._receive(time.monotonic() + _BUILD_TIMEOUT)
        if answer is None:
            raise WorkloadError(
                f"the workload was not built within {_BUILD_TIMEOUT:.0f} s; its output is in {log}"
            )
        if answer["event"] == "failed":
            if answer["outcome"] == "machine":
                raise MachineError(
                    f"the workload cannot be built: {answer['detail']} (its output is in {log})"
                )
            raise WorkloadError(
                f"the workload cannot be built: {answer['detail']}", answer["traceback"], log=str(log)
            )
        self.versions = answer["versions"]
        self.torch_settings = answer["environment"]

    def _ask(
        self, request: Mapping[str, Any], name: str, timeout: float | None = None
    ) -> tuple[dict[str, Any], str, float]:
        """Have one probe run; return the zygote's answer, the path of the log, and the seconds it took."""
        self._count += 1
        log = str(self.directory.absolute() / f"{self._count:03d}-{name}.log")
        Path(log).unlink(missing_ok=True)
        started = time.monotonic()
        deadline = started + (timeout or self.timeout)
        self._send({**request, "bound": self.device.bound, "trainer": self.trainer, "log": log})
        answer = self._receive(deadline)
        timed_out = False
        while answer is None or answer["event"] != "ended":
            if answer is None:
                if timed_out:
                    raise MachineError(f"a probe cannot be killed; its output is in {log}")
                timed_out = True
                self._send({"kill": True})
                deadline = time.monotonic() + _GOODBYE
            elif answer["event"] == "started":
                self._probe_pid = int(answer["pid"])
            answer = self._receive(deadline)
        self._receive(time.monotonic() + _GOODBYE)  # "idle": whoever looked after the probe is gone, too
        self._probe_pid = None
        self.device.settle()
        self.afresh = answer["afresh"]
        return (
            answer | {"timed_out": timeout or self.timeout if timed_out else None},
            log,
            time.monotonic() - started,
        )

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._lost() from None

    def _receive(self, deadline: float) -> dict[str, Any] | None:
        """Wait for the zygote's next line; None when the deadline passes first."""
        assert self._process is not None
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                raise self._lost()
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def _lost(self) -> HarnessError:
        """Say how the zygote ended: while it built the workload, that is the workload's doing."""
        assert self._process is not None
        code = self._process.wait()
        log = self.directory / "zygote.log"
        end = {"result": None, "timed_out": None, "exit_code": code}
        if (trouble := killed_for_memory(end, self._kills)) is not None:
            return MachineError(
                f"the process that builds the workload failed: {trouble} (its output is in {log})"
            )
        return WorkloadError(
            f"the process that builds the workload {ending(end)}; its output is in {log}",
            log=str(log),
        )


def _make_scratch() -> str:
    """Make the folder for temporary files of a zygote and its probes."""
    scratch = tempfile.mkdtemp(prefix="gpu-profile-")
    if len(scratch) <= _MAX_SCRATCH_LENGTH or not os.access("/tmp", os.W_OK):  # noqa: S108 - short, that is the point
        return scratch
    Path(scratch).rmdir()
    return tempfile.mkdtemp(prefix="gpu-profile-", dir="/tmp")  # noqa: S108 - as above


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
