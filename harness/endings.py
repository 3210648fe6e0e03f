"""How probes and zygotes end that cannot speak for themselves, in words."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import oom_killer
from harness.errors import HarnessError
from harness.out_of_space import shortage_in

if TYPE_CHECKING:
    from collections.abc import Mapping


class WorkloadError(HarnessError):
    """The user's workload cannot be built, or failed in a way that is neither its batch size's nor ours."""

    def __init__(self, message: str, detail: str = "", log: str | None = None) -> None:
        super().__init__(message)
        self.detail = detail
        """The user's traceback, if there is one."""
        self.log = log


class UntraceableError(WorkloadError):
    """What the user's training allocates does not follow from shapes: it can be measured, and not predicted."""


def died(answer: Mapping[str, Any], log: str) -> dict[str, Any]:
    """Put the end of a probe that gave no result into a probe's words: outcome and detail."""
    said = _tail(log)
    killed = answer["timed_out"] is not None or answer["exit_code"] == -signal.SIGKILL
    if (used_up := shortage_in(said)) is not None:
        return {"outcome": "machine", "detail": f"{used_up}: it {ending(answer)}"}
    ran_out = not killed and ("std::bad_alloc" in said or "MemoryError" in said)
    return {"outcome": "oom" if ran_out else "error", "detail": ending(answer)}


def killed_for_memory(answer: Mapping[str, Any], kills: int | None) -> str | None:
    """Say so when the kernel has killed a process for want of memory, the probe itself or a worker of its loader.

    kills: what `oom_killer.count` gave before the probe. A worker's end is an error of the probe's own.
    """
    result = answer["result"]
    itself = result is None and answer["timed_out"] is None and answer["exit_code"] == -signal.SIGKILL
    if not itself and (result is None or result["outcome"] != "error"):
        return None
    now = oom_killer.count()
    if kills is None or now is None or now <= kills:
        return None
    return (
        "the kernel's out-of-memory killer was at work: the host or the cgroup is short of memory, whatever the budget "
        f"is; free some and run again: {ending(answer) if itself else result['detail']}"
    )


def ending(answer: Mapping[str, Any]) -> str:
    """Say how a process with this exit code ended, or that it was not waited for any longer."""
    if answer.get("timed_out") is not None:
        return f"timed out after {answer['timed_out']:.0f} s"
    code = int(answer["exit_code"])
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"exited with code {code}"


def _tail(log: str) -> str:
    """Return the end of what a process that died without a word had printed."""
    with suppress(OSError):
        return Path(log).read_bytes()[-10_000:].decode(errors="replace")
    return ""
