"""Replaces the CPU's operators by those that CUDA computes with other kernels, in this process.

Each then keeps for the backward pass what CUDA's keeps. A process in which they are installed is
for tracing alone.
"""

from __future__ import annotations

from typing import Any

import torch

from harness.predict.cuda_operators import attention, autocast, norms, recurrent

_aten = torch.ops.aten
_KEY = "AutogradCPU"
_libraries: list[Any] = []


def install(capability: tuple[int, int]) -> None:
    """Replace the CPU's operators by those that a GPU of this compute capability would run."""
    if _libraries:
        return
    library: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call] # torch's
    _libraries.append(library)
    autocast.install(library)

    def scaled_dot_product_attention(  # noqa: PLR0917 - the operator's own signature
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None = None,
        dropout: float = 0.0,
        causal: bool = False,  # noqa: FBT001, FBT002 - likewise
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        inputs = attention.Inputs(query, key, value, mask, dropout, causal)
        return attention.attend(inputs, capability, scale=scale, grouped=enable_gqa)

    library.impl("scaled_dot_product_attention", scaled_dot_product_attention, _KEY)
    library.impl("dropout", _dropout, _KEY)
    library.impl("group_norm", norms.group_norm, _KEY)
    if hasattr(_aten, "_fused_rms_norm"):  # the torch that is traced has the kernel
        library.impl("rms_norm", norms.rms_norm, _KEY)
    for name, operator in recurrent.operators().items():
        library.impl(name, operator, _KEY)


def _dropout(
    tensor: torch.Tensor,
    probability: float,
    train: bool,  # noqa: FBT001 - as above
) -> torch.Tensor:
    """Keep a mask of bytes, where the CPU keeps one of the tensor's dtype."""
    if not train or probability == 0 or not tensor.numel():
        return tensor
    if probability == 1:
        return tensor * torch.zeros((), dtype=tensor.dtype)
    result: torch.Tensor = _aten.native_dropout(tensor, probability, train)[0]
    return result
