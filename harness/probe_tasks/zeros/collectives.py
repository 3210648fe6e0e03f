"""Forgets what was known of tensors that a collective has written.

A simulated GPU hands small messages on from rank to rank, and their bytes are then in its memory.
torch does not count a collective's writing as a change of the tensor.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed
from torch.distributed import distributed_c10d

from harness.probe_tasks.zeros.known_values import is_on_gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.probe_tasks.zeros.known_values import KnownValues

# The name of each collective's argument that it writes, and its place.
_WRITTEN = {
    "all_reduce": (0, "tensor"),
    "broadcast": (0, "tensor"),
    "reduce": (0, "tensor"),
    "all_gather": (0, "tensor_list"),
    "all_gather_into_tensor": (0, "output_tensor"),
    "gather": (1, "gather_list"),
    "scatter": (0, "tensor"),
    "reduce_scatter": (0, "output"),
    "reduce_scatter_tensor": (0, "output"),
    "all_to_all": (0, "output_tensor_list"),
    "all_to_all_single": (0, "output"),
    "recv": (0, "tensor"),
    "irecv": (0, "tensor"),
}


@contextmanager
def forgetting(known: KnownValues) -> Iterator[None]:
    """Forget, in the block, what was known of the tensors that collectives write."""
    undo: list[Callable[[], None]] = []
    try:
        for name, (place, keyword) in _WRITTEN.items():
            function = getattr(distributed_c10d, name)
            # One for both: torch compares `irecv` with its own.
            forgetful = _forgetful(function, known, place, keyword)
            for owner in (distributed_c10d, torch.distributed):
                undo.append(functools.partial(setattr, owner, name, getattr(owner, name)))
                setattr(owner, name, forgetful)
        yield
    finally:
        for put_back in reversed(undo):
            put_back()


def _forgetful(
    function: Callable[..., Any], known: KnownValues, place: int, keyword: str
) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> Any:
        result = function(*arguments, **keywords)
        with suppress(Exception):
            written = arguments[place] if place < len(arguments) else keywords[keyword]
            for tensor in written if isinstance(written, (list, tuple)) else [written]:
                if is_on_gpu(tensor):
                    known.forget(tensor)
        return result

    return call
