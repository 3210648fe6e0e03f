"""Tells a process by its environment which rank it is, as `torchrun` tells the processes it starts.

By these variables torch, Lightning, transformers and a user's own loop find their place, and start
no further processes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.protocol.case import RankPlace

_ZERO = ("GROUP_RANK", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS")
_OWN = ("RANK", "LOCAL_RANK", "ROLE_RANK")
_NUMBER = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "ROLE_WORLD_SIZE")
_HOST, _PORT, _RUN = "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"
_ALL = (*_ZERO, *_OWN, *_NUMBER, "GROUP_WORLD_SIZE", _HOST, _PORT, _RUN)


def take_place(place: RankPlace | None) -> None:
    """Set the variables of a rank in this process; None: remove those that its zygote has set.

    A process that was never a rank keeps what its environment says.
    """
    if place is None:
        if _RUN in os.environ and os.environ[_RUN].startswith("gpu-profile-"):
            for name in _ALL:
                os.environ.pop(name, None)
        return
    os.environ.update(
        {
            **dict.fromkeys(_ZERO, "0"),
            **dict.fromkeys(_OWN, str(place["rank"])),
            **dict.fromkeys(_NUMBER, str(place["num_ranks"])),
            "GROUP_WORLD_SIZE": "1",
            _HOST: "127.0.0.1",
            _PORT: str(place["port"]),
            _RUN: f"gpu-profile-{place['port']}",
        }
    )
