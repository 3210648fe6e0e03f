"""Lets this process stand for all ranks of a training: torch forms its groups without the others.

NCCL stays torch's own, and the simulated library answers for the ranks that are absent. What is
left is where torch waits for them on the host: the store in which ranks meet, barriers that count
in it, and gloo. Every rank is taken to do what this one does.

Runs in a zygote and its probes, before the user's code is imported.
"""

from __future__ import annotations

import functools
import importlib
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from harness.errors import RanksDifferError
from harness.simulated.inside import Ranks
from harness.simulated.mark import is_alone
from harness.workload.once_imported import once_imported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Of these torch knows by itself how processes meet: torch.distributed.rendezvous.
_SCHEMES = ("env", "tcp", "file")
_done: list[bool] = []
_for_good = ExitStack()


def stand_for_all() -> None:
    """Change torch's process groups so that they need no other process, where this one is alone."""
    if not is_alone() or _done:
        return
    _done.append(True)
    torch: Any = importlib.import_module("torch")
    c10d: Any = importlib.import_module("torch.distributed.distributed_c10d")
    rendezvous: Any = importlib.import_module("torch.distributed.rendezvous")
    for scheme in _SCHEMES:
        rendezvous._rendezvous_handlers[scheme] = _meet  # noqa: SLF001 - it refuses to register twice
    c10d._store_based_barrier = _wait_for_nobody  # noqa: SLF001 - what it counts never comes
    if hasattr(c10d, "ProcessGroupGloo"):
        c10d.ProcessGroupGloo = _Gloo
        for name, wrap in (("all_reduce", _summed), ("gather", _gathered), ("scatter", _scattered)):
            wrapped = wrap(getattr(c10d, name), c10d)
            setattr(c10d, name, wrapped)
            setattr(torch.distributed, name, wrapped)
    Ranks(torch, c10d).install()
    once_imported("torch.distributed.pipelining.stage", _refuse_stages, _for_good)


def _meet(url: str, **_: Any) -> Iterator[tuple[Any, int, int]]:
    """Yield a store of this process, its rank and the number of ranks, as torch's handlers do."""
    from torch.distributed import HashStore  # type: ignore[attr-defined]  # noqa: PLC0415

    asked = dict(parse_qsl(urlsplit(url).query))
    rank = int(asked.get("rank", os.environ.get("RANK", "0")))
    yield HashStore(), rank, int(asked.get("world_size", os.environ.get("WORLD_SIZE", "1")))
    raise RuntimeError("the ranks of a predicted training meet once")


def _refuse_stages(module: Any) -> Callable[[], None]:
    """Refuse the stages of a pipeline; `predict.simulation` runs all ranks then."""
    base = module._PipelineStageBase  # noqa: SLF001 - all stages derive from it
    own = base.__init__

    def init(*_: Any, **__: Any) -> None:
        raise RanksDifferError(
            "each rank of a pipeline has another stage, so all ranks must run, at most 32: make the "
            "stages where the training is made, and not in its steps"
        )

    base.__init__ = init
    return lambda: setattr(base, "__init__", own)


def _wait_for_nobody(*_: Any, **__: Any) -> None:
    """Stand in the place of a barrier in the store."""


class _InTheirPlace(type):
    """The class of gloo's process groups, which are torch's groups of a fake backend here."""

    def __call__(cls, _store: Any, rank: int, size: int, **_: Any) -> Any:
        """Make a group whose collectives give this rank its own tensors back."""
        fake: Any = importlib.import_module("torch._C._distributed_c10d").FakeProcessGroup
        # torch calls it for gloo's groups, and fake ones refuse.
        fake._set_sequence_number_for_group = _wait_for_nobody  # noqa: SLF001
        return getattr(fake, "_create_internal", fake)(rank, size)

    def __instancecheck__(cls, instance: object) -> bool:
        """Return whether torch is to take it for a group of gloo's."""
        return type(instance).__name__ == "FakeProcessGroup"


class _Gloo(metaclass=_InTheirPlace):
    """Stands in the place of torch's ProcessGroupGloo, which connects to all ranks when made."""


def _on_host(tensor: Any) -> bool:
    return str(tensor.device) == "cpu"


def _summed(function: Callable[..., Any], c10d: Any) -> Callable[..., Any]:
    """Return torch's all_reduce, which on the host adds this rank's tensor for each rank."""

    @functools.wraps(function)
    def all_reduce(
        tensor: Any, op: Any = c10d.ReduceOp.SUM, group: Any = None, **kwargs: Any
    ) -> Any:
        work = function(tensor, op, group, **kwargs)
        if _on_host(tensor) and op == c10d.ReduceOp.SUM:
            tensor.mul_(c10d.get_world_size(group))
        return work

    return all_reduce


def _gathered(function: Callable[..., Any], _: Any) -> Callable[..., Any]:
    """Return torch's gather, which on the host takes this rank's tensor for each rank's."""

    @functools.wraps(function)
    def gather(tensor: Any, gather_list: Any = None, *args: Any, **kwargs: Any) -> Any:
        work = function(tensor, gather_list, *args, **kwargs)
        for one in gather_list or () if _on_host(tensor) else ():
            one.copy_(tensor)
        return work

    return gather


def _scattered(function: Callable[..., Any], _: Any) -> Callable[..., Any]:
    """Return torch's scatter, which on the host gives this rank the first tensor."""

    @functools.wraps(function)
    def scatter(tensor: Any, scatter_list: Any = None, *args: Any, **kwargs: Any) -> Any:
        work = function(tensor, scatter_list, *args, **kwargs)
        if scatter_list and _on_host(tensor):
            tensor.copy_(scatter_list[0])
        return work

    return scatter
