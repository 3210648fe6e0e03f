"""How probes and zygotes end that cannot speak for themselves, in words."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import oom_killer
from harness.errors import HarnessError, MachineError

if TYPE_CHECKING:
    from collections.abc import Mapping


class WorkloadError(HarnessError):
    """The user's workload cannot be built, or failed in a way that is neither its batch size's nor ours."""

    def __init__(self, message: str, detail: str = "", log: str | None = None) -> None:
        super().__init__(message)
        self.detail = detail
        """The user's traceback, if there is one."""
        self.log = log


def died(answer: Mapping[str, Any], log: str, kills: int | None) -> dict[str, Any]:
    """Put the end of a probe that gave no result into a probe's words: outcome and detail.

    kills: what `oom_killer.count` gave before the probe.

    Raises MachineError when the kernel killed it because the host is short of memory.
    """
    detail = ending(answer)
    outcome = "error"
    if answer["timed_out"] is not None:
        detail = f"timed out after {answer['timed_out']:.0f} s"
    elif answer["exit_code"] == -signal.SIGKILL:
        now = oom_killer.count()
        if kills is not None and now is not None and now > kills:
            raise MachineError(
                "a probe was killed by the kernel's out-of-memory killer: the host or the cgroup is short of "
                f"memory, whatever the budget is; free some and run again (its output is in {log})"
            )
    elif _ran_out_in_native_code(log):
        outcome = "oom"
    return {"outcome": outcome, "detail": detail}


def ending(answer: Mapping[str, Any]) -> str:
    """Say how a process with this exit code ended."""
    code = int(answer["exit_code"])
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"exited with code {code}"


def _ran_out_in_native_code(log: str) -> bool:
    """Say whether a process that died without a word had said in its output that an allocation failed."""
    with suppress(OSError):
        tail = Path(log).read_bytes()[-10_000:]
        return b"std::bad_alloc" in tail or b"MemoryError" in tail
    return False
