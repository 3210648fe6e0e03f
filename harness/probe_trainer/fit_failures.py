"""Explains what ended a fit, and tells the hook that it happened in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast, get_args

from harness.failures.explain import explain
from harness.lightning_names import Hook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from harness.failures.out_of_memory import DeviceMemory
    from harness.protocol.messages import Failure, TellPhase
    from harness.workload.build import Workload

# Lightning's functions that call a hook; each has its name in the variable `hook_name`.
_CALLERS = (
    "_call_lightning_module_hook",
    "_call_lightning_datamodule_hook",
    "_call_callback_hooks",
    "_call_strategy_hook",
    "_call_batch_hook",
)
_HOOKS = frozenset(get_args(Hook))
_HARNESS = str(Path(__file__).parent.parent) + "/"
_COLLATE = ("torch", "utils", "data", "_utils", "collate.py")


class Watch(Protocol):
    """A callback that keeps the first error of a fit, and the memory at that time."""

    error: BaseException | None
    memory: DeviceMemory | None


def explain_fit(
    error: BaseException,
    workload: Workload,
    watch: Watch | None,
    tell: TellPhase,
    accelerator: str,
) -> Failure:
    """Return the failure of a fit, and tell the hook that raised it, if one did.

    error: what came out of the fit; the first one that `watch` saw counts.
    """
    first, memory = error, None
    if watch is not None and watch.error is not None:
        first, memory = watch.error, watch.memory
    failure = explain(first, memory, accelerator)
    hook = hook_of(first)
    # Memory runs out in validation, whichever of its hooks asks for it.
    if hook is not None and not (failure["outcome"] == "oom" and "validation" in hook):
        tell(hook)
    if failure["outcome"] == "error" and _is_plain(workload) and _collates(first):
        advice = "its samples make no batch: name a function that does in the model's `collate_fn`"
        failure = {**failure, "detail": f"{failure['detail']} ({advice})"}
    return failure


def hook_of(error: BaseException) -> Hook | None:
    """Return the innermost hook of Lightning's that the error came up in.

    None for an error in the training itself, whose phases are told when they begin: a hook is named
    where it is neither. None also for an error that gpu-profile raises in a hook of its own.
    """
    name, last = None, None
    for frame in _frames(error):
        last = frame
        if frame.f_code.co_name in _CALLERS:
            name = frame.f_locals.get("hook_name")
    if last is None or last.f_code.co_filename.startswith(_HARNESS) or name not in _HOOKS:
        return None
    return cast("Hook", name)


def _frames(error: BaseException) -> Iterator[FrameType]:
    """Yield the frames of an error's traceback, the innermost last."""
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _is_plain(workload: Workload) -> bool:
    """Return whether the data are a data set, for which the wrapper makes the loaders."""
    return workload.user_data is not None and workload.datamodule is not workload.user_data


def _collates(error: BaseException) -> bool:
    """Return whether torch's default function for batches raised the error, also in a worker."""
    path = "/".join(_COLLATE)
    return path in str(error) or any(
        frame.f_code.co_filename.replace("\\", "/").endswith(path) for frame in _frames(error)
    )
