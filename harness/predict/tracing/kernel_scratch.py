"""Temporary memory that CUDA kernels allocate inside one operator and free before it returns.

No tensor shows it.

After FlashAttention's mha_bwd, the memory-efficient kernel's workspace_size, and
aten/src/ATen/native/ConvUtils.h, as PyTorch 2.13 calls them. Not known are cuDNN's workspaces, and
what a split over the keys takes where there are few samples and heads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch._prims_common import suggest_memory_format

if TYPE_CHECKING:
    from collections.abc import Sequence

_aten = torch.ops.aten
_CHANNELS_LAST = (torch.channels_last, torch.channels_last_3d)
_FLOAT32_BYTES = 4
# Queries are handled in blocks of as many, and features in groups.
_FLASH_QUERIES, _FLASH_FEATURES, _FLASH_WIDE_FEATURES, _FLASH_WIDE = 128, 32, 64, 128
_EFFICIENT_BLOCK = 64
# A block of the efficient kernel has a lock and a counter, padded to 16 bytes.
_EFFICIENT_LOCK_BYTES = 16


def scratch_of(operator: Any, arguments: Sequence[Any]) -> tuple[str, int]:
    """Return a name for the scratch of an operator on CUDA, and its bytes."""
    # Operators' names may begin with an underscore.
    if operator is _aten._scaled_dot_product_flash_attention_backward.default:  # noqa: SLF001
        return "attention", _of_flash(arguments[1])
    if operator is _aten._scaled_dot_product_efficient_attention_backward.default:  # noqa: SLF001
        return "attention", _of_efficient(arguments[1])
    if operator is _aten.convolution.default:
        return "convolutions", _of_convolution(arguments[:2])
    if operator is _aten.convolution_backward.default:
        return "convolutions", _of_convolution(arguments[:3])
    return "", 0


def _of_convolution(tensors: Sequence[torch.Tensor]) -> int:
    """Count the bytes of tensors that are copied into the memory format for cuDNN.

    It is channels_last if the input or the weight is.
    """
    formats = {suggest_memory_format(tensor) for tensor in tensors[-2:]}
    chosen = next((form for form in _CHANNELS_LAST if form in formats), torch.contiguous_format)
    return sum(
        tensor.numel() * tensor.element_size()
        for tensor in tensors
        if not tensor.is_contiguous(memory_format=chosen)
    )


def _of_flash(query: torch.Tensor) -> int:
    """Count a sum over each query's row, and its gradient, in float32."""
    batch, heads, length, features = query.shape
    group = _FLASH_FEATURES if features <= _FLASH_WIDE else _FLASH_WIDE_FEATURES
    return _FLOAT32_BYTES * batch * heads * _up(length, _FLASH_QUERIES) * (1 + _up(features, group))


def _of_efficient(query: torch.Tensor) -> int:
    """Count the same, the gradient in blocks."""
    batch, heads, length, features = query.shape
    blocks = -(-length // _EFFICIENT_BLOCK) * -(-features // _EFFICIENT_BLOCK)
    block_bytes = _FLOAT32_BYTES * _EFFICIENT_BLOCK**2 + _EFFICIENT_LOCK_BYTES
    return batch * heads * (_FLOAT32_BYTES * length + blocks * block_bytes)


def _up(number: int, step: int) -> int:
    return -(-number // step) * step
