"""Asks one zygote for the probes of all ranks: rank 0 stands for them, and the others never start.

On simulated GPUs alone, whose NCCL answers for the absent ranks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from harness.probes.ranks.group import is_for_one
from harness.probes.zygote_client import ZygoteClient

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.devices.device import Device
    from harness.probes.dead_processes import Ending
    from harness.protocol.case import CaseSpec, RankPlace
    from harness.protocol.lr import TellSteps
    from harness.protocol.messages import Ready, Request

# GPUs of a machine where ranks are on several: those of an HGX or DGX.
_LOCAL = 8


def num_local(num_ranks: int) -> int:
    """Return the ranks on each machine: more than 8 are on machines of 8, where that divides them.

    Else all are on one machine.
    """
    return _LOCAL if num_ranks > _LOCAL and num_ranks % _LOCAL == 0 else num_ranks


class LoneRank:
    """The zygote of rank 0, asked for all: it has the methods of a `ZygoteClient`.

    Args:
        directory: the folder of its logs.
        device: has the number of ranks, which may change from one probe to the next.

    """

    def __init__(self, directory: Path, device: Device) -> None:
        self._client = ZygoteClient(directory)
        self._device = device
        self._case: CaseSpec | None = None

    def start(self, case: CaseSpec, environment: Mapping[str, str]) -> Ready:
        """Start the zygote, as `ZygoteClient.start`."""
        self._case = case
        place = self._place()
        if place is not None:
            case = {**case, "place": place}
        return self._client.start(case, environment)

    def ask(
        self, request: Request, log: Path, timeout: float, tell_steps: TellSteps | None = None
    ) -> tuple[Ending, str | None]:
        """Run one probe; arguments, result and errors are those of `ZygoteClient.ask`."""
        assert self._case is not None, "it was started"
        spec: Any = request["workload"] or self._case["workload"]
        place = self._place()
        if place is not None and not is_for_one(request, spec):
            placed = {**request, "bound": {**request["bound"], "place": place}}
            request = cast("Request", placed)
        ending, afresh = self._client.ask(request, log, timeout, tell_steps)
        result: Any = ending.result
        if place is not None and result is not None and "samples" in result:
            result["samples"] *= place["num_ranks"]
        return ending, afresh

    def close(self) -> None:
        """End the zygote and everything that it started."""
        self._client.close()

    def _place(self) -> RankPlace | None:
        number = self._device.stands_for
        if not number:
            return None
        return {"rank": 0, "num_ranks": number, "port": 1, "num_local": num_local(number)}
