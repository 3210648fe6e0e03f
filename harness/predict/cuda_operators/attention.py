"""Chooses CUDA's kernel for scaled dot product attention, and keeps for backward what it keeps.

After aten/src/ATen/native/transformers/cuda/sdp_utils.cpp (PyTorch 2.13): flash, then
memory-efficient, then math. cuDNN's keeps what flash keeps.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch

_aten = torch.ops.aten
_LOW = (torch.float16, torch.bfloat16)
_MOST_FLASH_DIM = 256
_FLASH_GRAIN = 8
_WIDE, _WIDER = 192, 224
_VOLTA, _AMPERE = (7, 0), (8, 0)
_BLACKWELL_RTX = 12

Kernel = Literal["flash", "efficient", "math"]


class Inputs(NamedTuple):
    """Tensors of shape [batch, heads, length, features], and a mask.

    The mask broadcasts to [batch, heads, length, length].
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None
    dropout: float = 0.0
    causal: bool = False

    @property
    def grain(self) -> int:
        """The largest number that divides all numbers of features."""
        return math.gcd(self.query.shape[-1], self.value.shape[-1])


def choose(inputs: Inputs, capability: tuple[int, int]) -> Kernel:
    """Return the kernel on a GPU of this compute capability."""
    query, key, value = inputs[:3]
    fused = (
        query.dim() == key.dim() == value.dim() == 4  # noqa: PLR2004 - as in Inputs
        and query.shape[0] == key.shape[0] == value.shape[0]
        and min(query.shape[2], key.shape[2]) > 0
        and all(tensor.stride(-1) == 1 for tensor in (query, key, value))
    )
    if not fused or query.shape[-1] != key.shape[-1]:
        return "math"
    flash = torch._C._get_flash_sdp_enabled()  # noqa: SLF001 - `sdpa_kernel` sets it
    efficient = torch._C._get_mem_efficient_sdp_enabled()  # noqa: SLF001 - likewise
    if flash and _fits_flash(inputs, capability):
        return "flash"
    if efficient and _fits_efficient(inputs, capability):
        return "efficient"
    return "math"


def _fits_flash(inputs: Inputs, capability: tuple[int, int]) -> bool:
    query, key, value, mask = inputs[:4]
    dim = query.shape[-1]
    # With less shared memory than an A100 or H100 has, the backward pass of wide heads does not
    # fit.
    small = (8, 6) <= capability <= (8, 9) or capability[0] == _BLACKWELL_RTX
    trains = any(tensor.requires_grad for tensor in (query, key, value))
    too_wide = small and trains and (dim > _WIDE if inputs.dropout else _WIDE < dim <= _WIDER)
    return (
        capability >= _AMPERE
        and query.dtype in _LOW
        and mask is None
        and dim == value.shape[-1]
        and dim <= _MOST_FLASH_DIM
        and not too_wide
        and (not inputs.causal or query.shape[2] == key.shape[2])
    )


def _fits_efficient(inputs: Inputs, capability: tuple[int, int]) -> bool:
    dtype = inputs.query.dtype
    ampere = capability >= _AMPERE
    with_tensor_cores = capability >= (_VOLTA if dtype in _LOW else _AMPERE)
    grain = 16 // dtype.itemsize if with_tensor_cores else 1  # 16 bytes
    return (
        dtype is not torch.float64
        and (ampere or dtype is not torch.bfloat16)
        and inputs.grain % grain == 0
        and inputs.query.shape[1] == inputs.value.shape[1]
    )


def attend(
    inputs: Inputs, capability: tuple[int, int], *, scale: float | None, grouped: bool
) -> torch.Tensor:
    """Compute attention by the operators that CUDA would call."""
    kernel = choose(inputs, capability)
    result: torch.Tensor
    if kernel == "flash":
        return _flash(inputs, scale)
    query, key, value, mask, dropout, causal = inputs
    if kernel == "efficient":
        grad = torch.is_grad_enabled() and any(
            tensor.requires_grad for tensor in (query, key, value)
        )
        result = _aten._scaled_dot_product_efficient_attention(  # noqa: SLF001 - an operator's name
            query, key, value, _bias(inputs), grad, dropout, causal, scale=scale
        )[0]
        return result
    result = _aten._scaled_dot_product_attention_math(  # noqa: SLF001
        query, key, value, mask, dropout, causal, None, scale=scale, enable_gqa=grouped
    )[0]
    return result


def _flash(inputs: Inputs, scale: float | None) -> torch.Tensor:
    dim = inputs.query.shape[-1]
    rest = -dim % _FLASH_GRAIN
    tensors = [
        torch.nn.functional.pad(tensor, (0, rest)) if rest else tensor
        for tensor in (inputs.query, inputs.key, inputs.value)
    ]
    out: torch.Tensor = _aten._scaled_dot_product_flash_attention(  # noqa: SLF001
        *tensors, inputs.dropout, inputs.causal, False, scale=dim**-0.5 if scale is None else scale
    )[0]
    return out[..., :dim] if rest else out


def _bias(inputs: Inputs) -> torch.Tensor | None:
    """Return the mask as the kernel takes it: to be added, for all heads."""
    query, key, _, mask = inputs[:4]
    if mask is None:
        return None
    if mask.dtype is torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill_(
            mask.logical_not(), float("-inf")
        )
    return mask.expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])
