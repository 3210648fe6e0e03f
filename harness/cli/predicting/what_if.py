"""Ranks changes of a case by the largest batch, each tried by itself on a simulated GPU."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from harness.cli.predicting.documents import prediction_data
from harness.errors import HarnessError, MachineError, NotOfferedError, WorkloadError
from harness.predict.changes import Change, changes_of
from harness.predict.prediction import predict
from harness.predict.simulation import Simulation
from harness.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.cli.predicting.documents import WhatIfData
    from harness.matrix.case import Case
    from harness.predict.gpus import GpuFacts
    from harness.predict.prediction import Prediction
    from harness.run.paths import Paths

_log = logging.getLogger("harness")

AS_IT_IS = "as it is"
"""The name of the case without a change."""


@dataclass(frozen=True)
class Tried:
    """A change, and what came of it."""

    name: str
    case: Case
    """The case with the change."""
    prediction: Prediction | None = None
    why_not: str = ""
    """Why there is no prediction."""

    @property
    def batch_size(self) -> int:
        """The largest batch; 0 where nothing fits."""
        return 0 if self.prediction is None else self.prediction.max_batch_size

    def data(self) -> WhatIfData:
        """Return it as JSON documents have it."""
        found = self.prediction
        return {
            "change": self.name,
            "prediction": None if found is None else prediction_data(self.case, found),
            "message": self.why_not or None,
        }


def what_if(case: Case, gpu: GpuFacts, halved: Case | None, paths: Paths) -> list[Tried]:
    """Predict a case as it is, and with each change that it offers; the largest batch first.

    halved: the same case at half its resolution; None where it has none.

    Raises WorkloadError when the case does not train as it is, and MachineError when the machine is
    at fault.
    """
    if case.workload.get("command") is not None:
        raise HarnessError(
            f"{case.id} trains by a command, which --what-if cannot change: name models whose "
            "commands differ, and predict each"
        )
    if case.workload.get("training") is not None:
        raise HarnessError(
            f"{case.id} trains by a function of its own, which --what-if cannot change: name "
            "models that differ in its init_args, and predict each"
        )
    with tempfile.TemporaryDirectory() as folder, Simulation() as simulation:
        surroundings = replace(paths.surroundings, directory=Path(folder))

        def largest(changed: Case) -> Prediction:
            opened = simulation.open(changed, gpu, None, surroundings)
            return predict(opened, gpu, with_holders=False)

        now = largest(case)
        tried = [Tried(AS_IT_IS, case, now)]
        for change in changes_of(case, halved):
            _log.info("%s: trying it", change.case.id)
            tried.append(_try(change, largest))
    return sorted(tried, key=lambda one: (one.prediction is None, -one.batch_size))


def _try(change: Change, largest: Any) -> Tried:
    try:
        return Tried(change.name, change.case, largest(change.case))
    except MachineError:
        raise
    except NotOfferedError as error:
        return Tried(change.name, change.case, why_not=f"not offered: {error}")
    except WorkloadError as error:
        # A part of the answer: the change does not go with this workload.
        return Tried(change.name, change.case, why_not=f"does not train: {error}")


def what_if_lines(case: Case, tried: list[Tried]) -> Iterator[str]:
    """Yield the lines that show what was tried."""
    now = next(one.prediction for one in tried if one.name == AS_IT_IS)
    assert now is not None, "a case that does not train as it is has no changes"
    torch = now.made_with["torch"]
    yield (
        f"{case.id} on {now.gpu.label}, one change at a time, predicted with torch {torch} on a "
        "simulated GPU; nothing ran on a GPU"
    )
    yield ""
    ranked = [_row(one, now) for one in tried if one.prediction is not None]
    yield tabulate(ranked, headers="keys", disable_numparse=True)
    others = [one for one in tried if one.prediction is None]
    if others:
        yield ""
    for one in others:
        yield f"{one.name}: {one.why_not}"


def _row(one: Tried, now: Prediction) -> dict[str, Any]:
    prediction = one.prediction
    assert prediction is not None, "the others have no row"
    times = one.batch_size / now.max_batch_size if now.max_batch_size else None
    return {
        "change": one.name,
        "max batch": one.batch_size,
        "times": "-" if times is None else f"{times:.2f}",
        "bounded by": prediction.bounded_by,
        "peak": format_bytes(prediction.peak_memory_bytes),
    }
