"""Yields the settings that a case of several GPUs cannot have, each with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.matrix.trainer_settings import ALONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.matrix.case import Case

_NEED_GPUS = ("fsdp", "deepspeed")


def number_of(case: Case) -> dict[str, Any]:
    """Return the Trainer's keywords of a training that runs without Lightning's: its ranks."""
    return {"devices": case.num_ranks} if case.num_ranks > 1 else {}


def refusals(case: Case) -> Iterator[tuple[str, str]]:
    """Yield what cannot be done with the devices and the strategy of a case.

    Each is a key of `trainer`, and the reason.
    """
    strategy = case.trainer.get("strategy", "auto")
    if case.num_ranks == 1:
        if strategy not in ALONE:
            yield (
                "strategy",
                f"{_shown(strategy)} is for several devices: set devices, or auto (ddp for several)",
            )
        return
    if strategy == "single_device":
        yield "strategy", f"single_device is for one device, and devices is {case.num_ranks}"
    name = _shown(strategy).rpartition(".")[2].lower()
    if case.device.accelerator == "cpu" and name.startswith(_NEED_GPUS):
        yield "strategy", f"{_shown(strategy)} needs GPUs, and this case runs on the CPU: set ddp"
    for reason in _not_with_ranks(case):
        yield "devices", f"{reason}: set devices: 1 for it"


def _not_with_ranks(case: Case) -> Iterator[str]:
    workload, search = case.workload, case.search
    if workload.get("command") is not None:
        yield (
            "a command starts its ranks itself, and its batch would be that of all of them: to see "
            "one, run `gpu-profile simulate --count N -- torchrun …`"
        )
    if case.buckets:
        yield "buckets are searched on one device"
    if search.validation == "search":
        yield "the validation batch of `search.validation: search` is searched on one device"
    if search.inference:
        yield "`search.inference` is searched on one device"
    if search.worst_batches:
        yield "`search.worst_batches` finds the worst batches of one rank alone"
    if search.global_batch_size is not None:
        yield "`search.global_batch_size` is made of the batches of one device"
    if case.workers.max is not None:
        yield "`workers` times the loader of one device"


def _shown(strategy: Any) -> str:
    return strategy if isinstance(strategy, str) else str(strategy["class_path"])
