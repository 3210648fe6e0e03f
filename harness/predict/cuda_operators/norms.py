"""CUDA's norms, as far as they keep other tensors for the backward pass than the CPU's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence


def group_norm(  # noqa: PLR0917 - the operator's own signature
    tensor: torch.Tensor,
    num_groups: int,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,  # noqa: ARG001, FBT001, FBT002 - likewise
) -> torch.Tensor:
    """Normalize a contiguous copy, because CUDA's kernel reads no other memory format."""
    samples, channels = tensor.shape[:2]
    result: torch.Tensor = torch.ops.aten.native_group_norm(
        tensor.contiguous(),
        weight,
        bias,
        samples,
        channels,
        tensor.shape[2:].numel(),
        num_groups,
        eps,
    )[0]
    return result


def rms_norm(
    tensor: torch.Tensor,
    shape: Sequence[int],
    weight: torch.Tensor | None = None,
    eps: float | None = None,
) -> torch.Tensor:
    """Normalize over the last dimensions, of this shape, as CUDA does.

    If weight and input have one dtype, CUDA does that in one kernel.
    """
    if weight is not None and weight.dtype != tensor.dtype:
        # Then CUDA has no kernel either.
        dims = tuple(range(-len(shape), 0))
        wide = tensor.float()
        epsilon = torch.finfo(tensor.dtype).eps if eps is None else eps
        return (wide * torch.rsqrt(wide.pow(2).mean(dims, keepdim=True) + epsilon)).to(
            tensor.dtype
        ) * weight
    result: torch.Tensor = _Fused.apply(  # type: ignore[no-untyped-call] # torch's
        tensor, weight, len(shape)
    )
    return result


class _Fused(torch.autograd.Function):
    """Sizes only: what is computed is of no interest."""

    @staticmethod
    def forward(
        ctx: Any, tensor: torch.Tensor, weight: torch.Tensor | None, dims: int
    ) -> torch.Tensor:
        """Keep the input, the weight, and one float32 per row."""
        rows = tensor.shape[: tensor.dim() - dims] + (1,) * dims
        ctx.save_for_backward(tensor, weight, tensor.new_empty(rows, dtype=torch.float32))
        return torch.empty_like(tensor)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        """Make gradients of input and weight."""
        _, weight, _ = ctx.saved_tensors
        return (
            torch.empty_like(grads[0]),
            None if weight is None else torch.empty_like(weight),
            None,
        )
