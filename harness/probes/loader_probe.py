"""Asks a case's zygote how fast its training loader is beside its training step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.probes.answers import Answer
    from harness.protocol.lr import LoadingResult, LoadingTask
    from harness.protocol.messages import Failure

    Ask = Callable[..., Answer[Any]]

ROUNDS = 3
"""The turns of step and loader; their spread is the dispersion."""


@dataclass(frozen=True)
class Loading:
    """How a loader with a number of workers compares with the step."""

    step_seconds: tuple[float, ...] = ()
    """Of one batch, one number for each turn."""
    load_seconds: tuple[float, ...] = ()
    refusal: str | None = None
    """Why the number of workers cannot be set."""
    failure: str | None = None
    """What ended the loader, or the step, with this number of workers."""


def measure_loading(ask: Ask, batch_size: int, num_workers: int) -> Loading:
    """Time step and loader in a process of their own.

    Raises MachineError when the machine is at fault.
    """
    task: LoadingTask = {
        "task": "loading",
        "batch_size": batch_size,
        "num_workers": num_workers,
        "rounds": ROUNDS,
    }
    what = f"timing the loader with {num_workers} workers"
    answer: Answer[LoadingResult | Failure] = ask(task, what, f"workers-{num_workers}")
    result = answer.death or answer.result
    assert result is not None, "a probe answers or dies"
    if result["outcome"] != "fits":
        return Loading(failure=f"{result['detail']} (its output is in {answer.log})")
    # User code could write into the pipe: only times can be compared.
    step, load = map(_times, (result["step_seconds"], result["load_seconds"]))
    done = min(len(step), len(load))
    if result["refusal"] is None and done < ROUNDS:
        return Loading(failure=f"the training ended itself after {done} of {ROUNDS} turns")
    return Loading(step, load, refusal=result["refusal"])


def _times(seconds: list[float]) -> tuple[float, ...]:
    return tuple(one for one in seconds if 0 < one < math.inf)
