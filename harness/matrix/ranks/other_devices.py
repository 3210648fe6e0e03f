"""Makes of a case the same case with another number of devices, for predictions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.matrix.ranks.refusals import per_rank, refusals

if TYPE_CHECKING:
    from harness.matrix.case import Case

MOST_DEVICES = 1024
"""The most devices of a prediction: rank 0 stands for all, so that they cost nothing."""


def with_devices(case: Case, number: int) -> Case:
    """Return a case on another number of devices.

    A step of `search.global_batch_size` is made by all of them.

    Raises HarnessError where the strategy or a setting does not take so many.
    """
    if case.workload.get("command") is not None and number != case.num_ranks:
        raise HarnessError(
            f"{case.id} does not train on {number} device{'s' * (number > 1)}: a command starts its "
            "ranks itself, so write one for this number into the matrix"
        )
    trainer = {name: value for name, value in case.trainer.items() if name != "devices"}
    if number > 1 or case.workload.get("training") is not None:
        trainer["devices"] = number
    search = case.search.model_copy(update={"global_batch_size": case.global_batch_size})
    other = replace(case, trainer=trainer, search=search)
    reasons = [reason for _, reason in refusals(other)]
    if reasons:
        raise HarnessError(
            f"{case.id} does not train on {number} device{'s' * (number > 1)}: {'; '.join(reasons)}"
        )
    return per_rank(other)
