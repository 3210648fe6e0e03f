"""Explains an exception that ended a probe: whose fault it is, and one line for a table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from harness.errors import MachineError, NoFullBatchError, NotOfferedError
from harness.failures.exceptions import message_of
from harness.failures.out_of_memory import classify
from harness.failures.out_of_space import shortage
from harness.failures.tracebacks import traceback_of

if TYPE_CHECKING:
    from harness.failures.out_of_memory import DeviceMemory, Kind
    from harness.protocol.messages import FailedOutcome, Failure

# The detail is one line in a table, and some libraries print whole tensors into theirs. The
# traceback has the full message.
_MAX_DETAIL = 500
# torch begins its message with this line when a process or thread that loads data raised.
_IN_WORKER = re.compile(
    r"Caught \w+ in (DataLoader worker process \d+|pin memory thread for device \d+)\."
)
# torch's words where a tensor of the meta device is moved.
_ON_META = "Cannot copy out of meta tensor"
_GIVE_MEMORY = (
    "a part of the model is still on the meta device, without memory: call to_empty(device=...) and "
    "set its values, in configure_model of a LightningModule, or where a training is made"
)
_OUTCOMES: dict[Kind | None, tuple[FailedOutcome, str]] = {
    "device": ("oom", ""),
    "host": ("error", "the host, not the GPU, is out of memory: "),
    "pinned host": ("machine", "the host could pin no more memory, while the GPU has room: "),
    "context": ("machine", "CUDA itself finds no room on the GPU: "),
}


def explain(
    error: BaseException, memory: DeviceMemory | None = None, accelerator: str = "cpu"
) -> Failure:
    """Return the outcome of a probe that an exception ended, one line of detail and the traceback.

    memory: the state of the device's memory when the error came up.
    accelerator: `cpu` or `cuda`.
    """
    outcome, detail = _outcome(error, memory, accelerator)
    line = f"{type(error).__qualname__}: {_first_line(error)}".rstrip(": ")
    if _ON_META in line:
        line += f" ({_GIVE_MEMORY})"
    return {
        "outcome": outcome,
        # What is not offered is no error of the user's: the message says all.
        "detail": _encodable(_first_line(error) if outcome == "not offered" else detail + line),
        "traceback": _encodable(traceback_of(error)),
    }


def _encodable(text: str) -> str:
    """Return the text with lone surrogates escaped.

    File names that cannot be decoded contain them, and no file, terminal or channel of xdist
    accepts them.
    """
    return text.encode(errors="backslashreplace").decode()


def _outcome(
    error: BaseException, memory: DeviceMemory | None, accelerator: str
) -> tuple[FailedOutcome, str]:
    """Return the outcome, and the words that precede the error itself."""
    if isinstance(error, MachineError):
        return "machine", ""
    if isinstance(error, NotOfferedError):
        return "not offered", ""
    if isinstance(error, NoFullBatchError):
        return "dataset", ""
    if (used_up := shortage(error)) is not None:
        return "machine", f"{used_up}: "
    kind = classify(error, memory)
    if kind == "host" and accelerator == "cpu":
        return "oom", ""
    return _OUTCOMES.get(kind, ("error", ""))


def _first_line(error: BaseException) -> str:
    try:
        str(error)
    except BaseException as second:  # noqa: BLE001 - an exception's own __str__ may raise anything
        return f"(its message raised {type(second).__qualname__})"
    lines = message_of(error).strip().splitlines()
    line = lines[0] if lines else ""
    if (worker := _IN_WORKER.fullmatch(line)) is not None:
        # The other lines are the worker's traceback, which ends with the error itself.
        line = f"{lines[-1].removeprefix(f'{type(error).__qualname__}: ')} (in {worker[1]})"
    return line if len(line) <= _MAX_DETAIL else line[: _MAX_DETAIL - 1] + "…"
