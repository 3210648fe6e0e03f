"""Lets the ranks of a probe decide together: when to stop, and which loss a step has had.

They talk through the store where they met, so nothing of it is in a device's memory. A rank that
is gone never answers. Then pytest's process ends the others.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch.distributed
from torch.distributed import distributed_c10d

if TYPE_CHECKING:
    from harness.protocol.case import RankPlace


# Rank 0 keeps the store, and the others need it until they are done.
_GOODBYE = timedelta(seconds=30)


class RankTalk:
    """The talk of one rank with the others. All must call the same functions in the same order."""

    def __init__(self, place: RankPlace) -> None:
        self._rank, self._num_ranks = place["rank"], place["num_ranks"]
        self._turn = 0
        self._store: Any = None

    def all(self, decision: bool) -> bool:  # noqa: FBT001 - the decision itself
        """Return whether all ranks have decided so."""
        return all(self._exchange(float(decision)))

    def mean(self, value: float) -> float:
        """Return the mean of the ranks' values."""
        values = self._exchange(value)
        return sum(values) / len(values)

    def least(self, value: float) -> float:
        """Return the smallest of the ranks' values."""
        return min(self._exchange(value))

    def leave(self) -> None:
        """Give up the store, which this rank needs no more; rank 0 waits until nobody needs it."""
        store = self._store
        if store is None:
            return
        with suppress(RuntimeError):  # torch's errors where ranks are gone are such
            if self._rank:
                store.set(f"gpu_profile/left/{self._rank}", "")
            else:
                others = [f"gpu_profile/left/{rank}" for rank in range(1, self._num_ranks)]
                store.wait(others, _GOODBYE)

    def _exchange(self, value: float) -> list[float]:
        """Return the values of all ranks; only this rank's where the ranks have not met."""
        if not torch.distributed.is_initialized():
            return [value]
        self._store = store = distributed_c10d._get_default_store()  # noqa: SLF001 - it has no public name
        self._turn += 1
        name = f"gpu_profile/{self._turn}"
        store.set(f"{name}/{self._rank}", float(value).hex())
        return [
            float.fromhex(store.get(f"{name}/{rank}").decode()) for rank in range(self._num_ranks)
        ]
