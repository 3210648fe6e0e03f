"""Asks a case's zygote for traces, and reads them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from harness.errors import UntraceableError, WorkloadError
from harness.predict.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.probes.answers import Answer
    from harness.probes.runner import ProbeRunner
    from harness.protocol import Failure, TraceResult, TraceTask


def take_traces(
    runner: ProbeRunner,
    batch_sizes: Sequence[int],
    validation_steps: int,
    capability: tuple[int, int],
) -> list[Trace]:
    """Run two training steps on tensors without memory; return what they allocate, per batch size.

    Each runs in a process of its own, side by side where the workload survives forks.

    capability: the GPU's compute capability, on which the choice of kernels depends.

    Raises UntraceableError when training depends on more than shapes, WorkloadError when it fails.
    """
    together = [batch_sizes] if runner.afresh is None else [[size] for size in batch_sizes]
    traces: list[Trace] = []
    for sizes in together:
        files = [runner.directory.absolute() / f"trace-b{size}.json" for size in sizes]
        task: TraceTask = {
            "task": "trace",
            "batch_sizes": list(sizes),
            "validation_steps": validation_steps,
            "files": [str(file) for file in files],
            "capability": list(capability),
        }
        name = f"trace-b{'-b'.join(map(str, sizes))}"
        _refuse_untraced(runner.ask(task, f"the {name}", name))
        traces += [Trace.from_json(json.loads(file.read_text(encoding="ascii"))) for file in files]
        for file in files:
            file.unlink()
    return traces


def _refuse_untraced(answer: Answer[TraceResult | Failure]) -> None:
    failure = answer.death if answer.result is None else answer.result
    assert failure is not None, "a probe answers or dies"
    if failure["outcome"] == "fits":
        return
    where = f" in {answer.phase}" if answer.phase else ""
    detail, traceback = failure["detail"], failure["traceback"] or ""
    if failure["outcome"] == "dataset":
        raise UntraceableError(
            f"the data hold too few samples for a trace: {detail}", traceback, log=answer.log
        )
    kind = UntraceableError if failure["outcome"] == "untraceable" else WorkloadError
    raise kind(f"the training cannot be traced{where}: {detail}", traceback, log=answer.log)
