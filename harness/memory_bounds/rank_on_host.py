"""Bounds a rank on the CPU: each rank of a training has the budget for itself.

What wraps the module counts as the case's: the buckets of DistributedDataParallel are as large as
the gradients. So the limit begins before the strategy wraps the module. The connections of gloo and
their threads are there by then, and do not count.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from harness.memory_bounds.held import bytes_of_buckets
from harness.memory_bounds.host import HostBound

if TYPE_CHECKING:
    from harness.protocol.case import RankPlace


class RankOnHost(HostBound):
    """Bounds the memory of this process, which is one of several ranks."""

    def __init__(self, budget_bytes: int, place: RankPlace) -> None:
        super().__init__(budget_bytes)
        self.place = place
        self.trainer_arguments = {"accelerator": "cpu", "devices": place["num_ranks"]}
        self._is_engaged = False

    def engage_before_wrapping(self, trainer: Any) -> None:
        """Set the limit where the Trainer's strategy is about to set the module up."""
        set_up = trainer.strategy.setup

        @wraps(set_up)
        def limited(*values: Any, **named: Any) -> Any:
            _meet()
            super(RankOnHost, self).engage(trainer.lightning_module)
            self._is_engaged = True
            return set_up(*values, **named)

        trainer.strategy.setup = limited

    def engage(self, module: Any) -> None:
        """Set the limit, unless `engage_before_wrapping` has set it."""
        if self._is_engaged:
            return
        super().engage(module)
        # A training has wrapped its models itself, before its limit begins.
        self.count_as_held(bytes_of_buckets())


def _meet() -> None:
    """Let the ranks exchange a number: gloo makes some of its memory at the first collective."""
    import torch.distributed  # noqa: PLC0415 - pytest's process imports this package, never torch

    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(torch.zeros(1))
        torch.distributed.barrier()
