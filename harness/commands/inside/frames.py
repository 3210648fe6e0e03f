"""Tells from the frames of an exception what a training was doing. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType

_BACKWARD = "_engine_run_backward"
_OPTIMIZER = "/torch/optim/"
_LOADER = "/torch/utils/data/"
_MODULE = "/torch/nn/modules/module.py"


def phase_of(error: BaseException) -> str | None:
    """Return the phase in which an exception came up: forward, backward, optimizer or data.

    None where no frame of torch's tells. What is computed again in the backward pass belongs to it.
    """
    phases = {_phase(code.co_filename.replace("\\", "/"), code.co_name) for code in _codes(error)}
    order = ("backward", "optimizer", "forward", "data")
    return next((phase for phase in order if phase in phases), None)


def raised_in(error: BaseException, *places: str) -> bool:
    """Return whether a frame of an exception is of a file whose path has one of these texts."""
    paths = [code.co_filename.replace("\\", "/") for code in _codes(error)]
    return any(place in path for path in paths for place in places)


def _phase(path: str, function: str) -> str | None:
    if function == _BACKWARD:
        return "backward"
    if _OPTIMIZER in path:
        return "optimizer"
    if path.endswith(_MODULE) and "_call_impl" in function:
        return "forward"
    return "data" if _LOADER in path else None


def _codes(error: BaseException) -> Iterator[CodeType]:
    trace: Any = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_code
        trace = trace.tb_next
