"""Puts an exception that ends a probe into words: whose fault it is, and one line for a table."""

from __future__ import annotations

import re
import traceback
from typing import TYPE_CHECKING, Any

from harness.errors import MachineError
from harness.loaders import NoFullBatchError
from harness.out_of_memory import classify
from harness.out_of_space import shortage

if TYPE_CHECKING:
    from harness.out_of_memory import DeviceMemory, Kind

# One line for a table: some libraries print whole tensors into theirs. The traceback has all of it.
_MAX_DETAIL = 500
# The first line of what torch makes of an exception in one of its processes or threads that load data.
_IN_WORKER = re.compile(r"Caught \w+ in (DataLoader worker process \d+|pin memory thread for device \d+)\.")
_OUTCOMES: dict[Kind | None, tuple[str, str]] = {
    "device": ("oom", ""),
    "host": ("error", "the host, not the GPU, is out of memory: "),
    "pinned host": ("machine", "the host could pin no more memory, while the GPU has room: "),
    "context": ("machine", "CUDA itself finds no room on the GPU: "),
}


def explain(
    error: BaseException, memory: DeviceMemory | None = None, accelerator: str = "cpu"
) -> dict[str, Any]:
    """Put an exception into a probe's words: outcome, one line of detail, traceback.

    `memory` is what the device said when the error came up. Besides a probe's own outcomes there is `machine`: the
    machine is in the way, whatever the batch size.
    """
    outcome, detail = _outcome(error, memory, accelerator)
    return {
        "outcome": outcome,
        "detail": _encodable(detail + f"{type(error).__qualname__}: {_first_line(error)}".rstrip(": ")),
        "traceback": _encodable("".join(traceback.format_exception(error))),
    }


def _encodable(text: str) -> str:
    """Escape lone surrogates, as undecodable file names have them: no file, terminal or channel of xdist's takes them."""
    return text.encode(errors="backslashreplace").decode()


def _outcome(error: BaseException, memory: DeviceMemory | None, accelerator: str) -> tuple[str, str]:
    """Return the outcome, and what there is to say before the error itself."""
    if isinstance(error, MachineError):
        return "machine", ""
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
        lines = str(error).strip().splitlines()
    except Exception as second:  # noqa: BLE001 - an exception's own __str__ may raise anything
        return f"(its message raised {type(second).__qualname__})"
    line = lines[0] if lines else ""
    if (worker := _IN_WORKER.fullmatch(line)) is not None:
        # The rest is the traceback from there, and its last line what happened.
        line = f"{lines[-1].removeprefix(f'{type(error).__qualname__}: ')} (in {worker[1]})"
    return line if len(line) <= _MAX_DETAIL else line[: _MAX_DETAIL - 1] + "…"
