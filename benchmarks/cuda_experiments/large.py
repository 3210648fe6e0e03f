"""The child side of experiment 10: crosses 2^31 elements in the usual operations of training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

# One image of 64 channels at 112 pixels, as behind a ResNet's first convolution at 224.
_CHANNELS, _SIDE = 64, 112
_BATCH = (1 << 31) // (_CHANNELS * _SIDE * _SIDE) + 2


def _images(channels: int) -> torch.Tensor:
    return torch.zeros(
        _BATCH, channels, _SIDE, _SIDE, dtype=torch.bfloat16, device="cuda", requires_grad=True
    )


def _weights() -> torch.Tensor:
    return torch.zeros(_CHANNELS, 3, 3, 3, dtype=torch.bfloat16, device="cuda", requires_grad=True)


OPERATIONS: dict[str, Callable[[], torch.Tensor]] = {
    "relu": lambda: functional.relu(_images(_CHANNELS)),
    "conv2d": lambda: functional.conv2d(_images(3), _weights(), padding=1),
    "batch_norm": lambda: functional.batch_norm(_images(_CHANNELS), None, None, training=True),
    "max_pool2d": lambda: functional.max_pool2d(_images(_CHANNELS), 3, 2, 1),
    "avg_pool2d": lambda: functional.avg_pool2d(_images(_CHANNELS), 2),
    "interpolate": lambda: functional.interpolate(_images(16), scale_factor=2, mode="nearest"),
    "linear": lambda: functional.linear(
        _images(_CHANNELS), torch.zeros(_SIDE, _SIDE, dtype=torch.bfloat16, device="cuda")
    ),
    "softmax": lambda: functional.softmax(_images(_CHANNELS), dim=-1),
    "layer_norm": lambda: functional.layer_norm(_images(_CHANNELS), (_SIDE,)),
    "dropout": lambda: functional.dropout(_images(_CHANNELS), 0.1),
    "gelu": lambda: functional.gelu(_images(_CHANNELS)),
}


def operations() -> list[str]:
    """Return the names of the operations."""
    return [*OPERATIONS]


def cross(*, operation: str) -> dict[str, Any]:
    """Run one operation, forward and backward, on more than 2^31 elements."""
    phase, error = "forward", None
    try:
        result = OPERATIONS[operation]()
        torch.cuda.synchronize()
        phase = "backward"
        result.sum().backward()  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        phase = "end"
    except Exception as raised:  # noqa: BLE001 - the answer is the error
        error = f"{type(raised).__name__} {getattr(raised, 'error_code', '')}: {raised}"[:500]
    return {"phase": phase, "error": error, "batch": _BATCH}
