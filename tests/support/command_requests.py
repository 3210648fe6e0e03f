"""Requests for probes of commands, on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from projects import MIB

if TYPE_CHECKING:
    from harness.protocol.messages import TrainRequest


def train_request(batch_size: int, *, settle: bool = True, **trainer: Any) -> TrainRequest:
    """Return the request for three steps of a batch on 64 MiB."""
    return {
        "task": "train",
        "batch_size": batch_size,
        "steps": 3,
        "settle": settle,
        "epoch_steps": 0,
        "validation_steps": 0,
        "validation_batch_size": None,
        "validation_share": 1.0,
        "snapshot": None,
        "history": None,
        "micro_batches": None,
        "bound": {"accelerator": "cpu", "budget_bytes": 64 * MIB},
        "trainer": trainer,
        "workload": None,
    }
