"""Yields the settings that a case of several GPUs cannot have, each with the reason."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.global_batch.divisors import micro_batches
from harness.matrix.trainer_settings import ALONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.matrix.case import Case
    from harness.matrix.settings import SearchSettings

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
        yield "devices", f"{reason}, or set devices: 1"


def _not_with_ranks(case: Case) -> Iterator[str]:
    search = case.search
    if case.buckets:
        yield "buckets are searched on one device: leave them out"
    if (total := search.global_batch_size) is not None:
        own = total // case.num_ranks
        sizes = micro_batches(max(own, 1), search.min_batch_size, search.max_batch_size)
        if total % case.num_ranks or not sizes:
            yield (
                f"{case.num_ranks} ranks cannot make `search.global_batch_size`, {total}, of "
                f"batches from min_batch_size, {search.min_batch_size}, to max_batch_size, "
                f"{search.max_batch_size}: set another number for it"
            )
    if case.workers.max is not None:
        yield "`workers` times the loader of one device: leave workers.max out"


def per_rank(case: Case) -> Case:
    """Return a case whose ranks each make their share of a step of `search.global_batch_size`."""
    if case.num_ranks == 1 or case.search.global_batch_size is None:
        return case
    stated = case.stated
    if stated is not None:
        stated = (_share(stated[0], case.num_ranks), stated[1])
    return replace(case, search=_share(case.search, case.num_ranks), stated=stated)


def _share(search: SearchSettings, num_ranks: int) -> SearchSettings:
    total = search.global_batch_size
    share = None if total is None else total // num_ranks
    return search.model_copy(update={"global_batch_size": share})


def _shown(strategy: Any) -> str:
    return strategy if isinstance(strategy, str) else str(strategy["class_path"])
