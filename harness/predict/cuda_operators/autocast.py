"""CUDA's autocast for tensors of the CPU.

Some operators run in the lower precision, some in float32, and the others as they are.
The lists are those of aten/src/ATen/autocast_mode.h (PyTorch 2.13) for CUDA; the CPU's own differ.
Changes this process for good: it ends with its trace.
"""

from __future__ import annotations

import warnings
from functools import wraps
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_leaves, tree_map

if TYPE_CHECKING:
    from collections.abc import Callable

_KEY = "AutocastCPU"


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


LOWER = _names(
    """_convolution conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d
    conv_transpose3d convolution prelu addmm addmv addr matmul einsum mm mv linalg_vecdot linear
    addbmm baddbmm bmm chain_matmul linalg_multi_dot _thnn_fused_lstm_cell _thnn_fused_gru_cell
    lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell lstm gru rnn_tanh rnn_relu
    _scaled_dot_product_flash_attention scaled_dot_product_attention"""
)
"""Run in the autocast's dtype. The whole RNNs stand for `_cudnn_rnn`."""
FLOAT32 = _names(
    """acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow softplus
    layer_norm native_layer_norm rms_norm group_norm frobenius_norm nuclear_norm cosine_similarity
    poisson_nll_loss cosine_embedding_loss nll_loss nll_loss2d hinge_embedding_loss kl_div l1_loss
    smooth_l1_loss huber_loss mse_loss margin_ranking_loss multilabel_margin_loss soft_margin_loss
    triplet_margin_loss multi_margin_loss binary_cross_entropy_with_logits dist pdist cdist renorm
    logsumexp norm upsample_nearest1d _upsample_nearest_exact1d upsample_nearest2d
    _upsample_nearest_exact2d upsample_nearest3d _upsample_nearest_exact3d upsample_linear1d
    upsample_bilinear2d _upsample_bilinear2d_aa upsample_trilinear3d upsample_bicubic2d
    _upsample_bicubic2d_aa"""
)
"""Run in float32."""
FLOAT32_RESULT = _names(
    "prod softmax log_softmax cumprod cumsum linalg_vector_norm linalg_matrix_norm sum"
)
"""Get `dtype=torch.float32` where none is given; what they read stays as it is."""
PROMOTE = _names(
    "addcdiv addcmul atan2 bilinear cross dot vdot grid_sampler index_put tensordot scatter_add"
)
"""Run in the widest of their arguments' dtypes."""

# Casts of parameters live until the outermost autocast ends: by id, with the parameter, so that the
# id stays its own.
_casts: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}


def install(library: Any) -> None:
    """Make `torch.autocast("cpu")` do what `torch.autocast("cuda")` does.

    It does so while `library` lives, a `torch.library.Library` of aten.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that kernels of the CPU's own lists are replaced
        for name in torch._C._dispatch_get_all_op_names():  # noqa: SLF001 - no public list
            if name.startswith("aten::"):
                _register(library, name.removeprefix("aten::"))
    _follow_names()
    clear = torch.clear_autocast_cache

    def clear_casts() -> None:
        clear()
        _casts.clear()

    torch.clear_autocast_cache = clear_casts  # autocast calls it when the outermost one ends


def _follow_names() -> None:
    """Turn every spelling of `torch.autocast("cuda")` into the CPU's, with CUDA's default dtype."""
    original = torch.autocast.__init__

    @wraps(original)
    def init(
        context: Any, device_type: str, dtype: torch.dtype | None = None, *args: Any, **more: Any
    ) -> None:
        if device_type == "cuda":
            device_type, dtype = "cpu", dtype or torch.get_autocast_dtype("cuda")
        original(context, device_type, dtype, *args, **more)

    torch.autocast.__init__ = init  # type: ignore[assignment, method-assign] # it takes the same


def _register(library: Any, name: str) -> None:
    packet, _, overload = name.partition(".")
    policy = _policy_of(packet)
    if policy is None:
        has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key  # noqa: SLF001 - not public
        if not has_kernel(f"aten::{name}", _KEY):
            return
        policy = _as_it_is
    if overload.endswith("out") or "dtype" in overload.split("_")[:1]:
        policy = _as_it_is
    operator = getattr(getattr(torch.ops.aten, packet), overload or "default")
    library.impl(name, _kernel(operator, policy), _KEY)


def _policy_of(packet: str) -> Callable[[Any, tuple[Any, ...], dict[str, Any]], Any] | None:
    if packet in LOWER:
        return _lower
    if packet in FLOAT32:
        return _float32
    if packet in FLOAT32_RESULT:
        return _float32_result
    return _promote if packet in PROMOTE else None


def _kernel(
    operator: Any, policy: Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]
) -> Callable[..., Any]:
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)  # noqa: SLF001 - as in C++

    def kernel(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(keys):  # noqa: SLF001
            return policy(operator, args, kwargs)

    return kernel


def _as_it_is(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return operator(*args, **kwargs)


def _lower(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    dtype = torch.get_autocast_dtype("cpu")
    return operator(*_cast(args, dtype), **_cast(kwargs, dtype))


def _float32(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return operator(*_cast(args, torch.float32), **_cast(kwargs, torch.float32))


def _float32_result(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    names = [argument.name for argument in operator._schema.arguments]  # noqa: SLF001
    if "dtype" in names and kwargs.get("dtype") is None and _is_low(args[0]):
        position = names.index("dtype")
        if position >= len(args):
            kwargs = kwargs | {"dtype": torch.float32}
        elif args[position] is None:
            args = (*args[:position], torch.float32, *args[position + 1 :])
    return operator(*args, **kwargs)


def _promote(operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    if any(tensor.dtype is torch.float32 for tensor in tensors):
        return _float32(operator, args, kwargs)
    return operator(*args, **kwargs)


def _is_low(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype in (torch.float16, torch.bfloat16)


def _cast(arguments: Any, dtype: torch.dtype) -> Any:
    return tree_map(lambda value: _cast_one(value, dtype), arguments)


def _cast_one(value: Any, dtype: torch.dtype) -> Any:
    """Cast what autocast casts: floating tensors other than float64, and parameters once."""
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return value
    if value.dtype in (dtype, torch.float64):
        return value
    lasting = (
        dtype is not torch.float32
        and value.dtype is torch.float32
        and value.requires_grad
        and value.is_leaf
        and not value._is_view()  # noqa: SLF001 - torch's own name for it
        and torch.is_autocast_cache_enabled()
    )
    if not lasting:
        return value.to(dtype)
    if id(value) not in _casts:
        _casts[id(value)] = value, value.to(dtype)
    return _casts[id(value)][1]
