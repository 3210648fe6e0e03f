"""Asks a case's zygote for a probe of `trainer.validate`, `trainer.test` or `trainer.predict`."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from harness.errors import WorkloadError
from harness.probes.answers import Answer, failed_probe, trained_probe

if TYPE_CHECKING:
    from pathlib import Path

    from harness.measurement import Probe
    from harness.probes.runner import ProbeRunner
    from harness.protocol.case import InferenceFunction
    from harness.protocol.messages import InferResult, InferTask

# The time-out of a probe is for so many batches; more have proportionally more.
_BATCHES_PER_TIMEOUT = 20


def infer(
    runner: ProbeRunner,
    function: InferenceFunction,
    batch_size: int,
    *,
    batches: int,
    whole_pass: bool = False,
    history: Path | None = None,
) -> Probe:
    """Probe one batch size of a function of the Trainer; arguments as in an `InferTask`.

    Raises MachineError when the machine is at fault, whatever the batch size.
    """
    task: InferTask = {
        "task": "infer",
        "function": function,
        "batch_size": batch_size,
        "batches": batches,
        "whole_pass": whole_pass,
        "history": None if history is None else str(history.absolute()),
    }
    answer = _ask(runner, task)
    if answer.result is None:
        return failed_probe(answer, answer.death, batch_size, function)
    runner.memory_limit_bytes = answer.result["memory_limit_bytes"]
    return trained_probe(answer, answer.result, batch_size, function)


def samples_in_pass(runner: ProbeRunner, function: InferenceFunction) -> int | None:
    """Return the samples in a pass of the function's loaders; None where only a pass tells.

    Raises WorkloadError where the workload has no such loader, or no such step.
    """
    task: InferTask = {
        "task": "infer",
        "function": function,
        "batch_size": 1,
        "batches": 0,
        "whole_pass": False,
        "history": None,
    }
    answer = _ask(runner, task)
    told = answer.death or answer.result
    assert told is not None, "a probe answers or dies"
    if answer.result is None or answer.result["outcome"] != "fits":
        raise WorkloadError(
            f"{function} cannot be set up: {told['detail']}",
            told["traceback"] or "",
            log=answer.log,
        )
    return answer.result["pass_samples"]


def _ask(runner: ProbeRunner, task: InferTask) -> Answer[InferResult]:
    function, batch_size = task["function"], task["batch_size"]
    limit = runner.timeout * max(1, task["batches"] / _BATCHES_PER_TIMEOUT)
    answer = runner.ask(task, f"{function} batch {batch_size}", f"{function}-b{batch_size}", limit)
    return cast("Answer[InferResult]", answer)
