"""Tells a process by its environment which rank it is, as `torchrun` tells the processes it starts.

By these variables torch, Lightning, transformers and a user's own loop find their place, and start
no further processes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from harness.simulated.mark import LONE_RANK

if TYPE_CHECKING:
    from harness.protocol.case import RankPlace

_ZERO = ("GROUP_RANK", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS")
_OWN = ("RANK", "LOCAL_RANK", "ROLE_RANK")
_NUMBER = ("WORLD_SIZE", "ROLE_WORLD_SIZE")
_LOCAL, _MACHINES = "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"
_HOST, _PORT, _RUN = "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"
_ALL = (*_ZERO, *_OWN, *_NUMBER, _LOCAL, _MACHINES, _HOST, _PORT, _RUN, LONE_RANK)
_SHOWN = "CUDA_VISIBLE_DEVICES"
# The GPUs that a process of one rank sees, before the user's code may change it.
_SHOWN_TO_ONE = os.environ.get(_SHOWN)
# torch waits for an id of NCCL's from one of so many ranks, and absent ranks make none.
_ROOTS = {"TORCH_NCCL_RANKS_PER_ROOT": str(1 << 20)}


def take_place(place: RankPlace | None) -> None:
    """Set the variables of a rank in this process; None: remove those that its zygote has set.

    A process that was never a rank keeps what its environment says.
    """
    if place is None:
        if _RUN in os.environ and os.environ[_RUN].startswith("gpu-profile-"):
            for name in _ALL:
                os.environ.pop(name, None)
            if _SHOWN_TO_ONE is not None:
                os.environ[_SHOWN] = _SHOWN_TO_ONE
        return
    num_local = place.get("num_local", place["num_ranks"])
    if "num_local" in place:
        os.environ.update({LONE_RANK: "1", **_ROOTS, _SHOWN: ",".join(map(str, range(num_local)))})
    os.environ.update(
        {
            **dict.fromkeys(_ZERO, "0"),
            **dict.fromkeys(_OWN, str(place["rank"])),
            **dict.fromkeys(_NUMBER, str(place["num_ranks"])),
            _LOCAL: str(num_local),
            _MACHINES: str(place["num_ranks"] // num_local),
            _HOST: "127.0.0.1",
            _PORT: str(place["port"]),
            _RUN: f"gpu-profile-{place['port']}",
        }
    )
