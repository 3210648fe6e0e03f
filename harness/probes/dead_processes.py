"""Describes processes that died without reporting a result."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.failures.out_of_space import shortage_in
from harness.pipes import CLOSED
from harness.probes import oom_kills
from harness.probes.log_files import last_words
from harness.wording import describe_exit

if TYPE_CHECKING:
    from harness.protocol.messages import Failure, Phase, Result


@dataclass(frozen=True)
class Ending:
    """The end of a probe or a zygote."""

    exit_code: int
    timed_out: float | None = None
    """The seconds that it had, if it was killed for taking longer."""
    phase: Phase | None = None
    result: Result | None = None
    """None when it died without reporting one."""
    trouble: str | None = None
    """What else is wrong with it, as a predicate: it cannot be believed, or was not watched."""
    rank: int | None = None
    """The rank that it is; None where a case has one process."""
    others: str = ""
    """What else is told of a time-out: where each rank was."""

    def __str__(self) -> str:
        if self.trouble is not None:
            return self.trouble
        if self.timed_out is not None:
            return f"timed out after {self.timed_out:.0f} s{self.others}"
        if self.exit_code == 0:
            return "ended itself without an error (os._exit or the like)"
        return describe_exit(self.exit_code)

    def unwatched(self) -> str:
        """Return in words that a probe's supervisor ended so, as a predicate of the probe."""
        return f"was ended because the process that watches it {self}"

    @property
    def sigkilled(self) -> bool:
        """Whether it was killed by SIGKILL, and not for the time-out."""
        return self.timed_out is None and self.exit_code == -signal.SIGKILL


def explain_death(ending: Ending, log: str) -> Failure:
    """Return the failure of a probe that died without a result; `log` is the path of its output."""
    output = last_words(Path(log))
    if ending.trouble is None and CLOSED in output:
        return {"outcome": "error", "detail": f"{ending}: {CLOSED}", "traceback": None}
    if (used_up := shortage_in(output)) is not None:
        return {"outcome": "machine", "detail": f"{used_up}: it {ending}", "traceback": None}
    killed = ending.timed_out is not None or ending.sigkilled or ending.trouble is not None
    ran_out = not killed and ("std::bad_alloc" in output or "MemoryError" in output)
    return {"outcome": "oom" if ran_out else "error", "detail": str(ending), "traceback": None}


def killed_for_memory(ending: Ending, kills: int | None) -> str | None:
    """Return an error message if the kernel has killed a process for lack of memory, else None.

    That process is the probe itself, or a worker of its loader, whose death is the probe's error.

    kills: the result of `oom_kills.count` before the probe.
    """
    result = ending.result
    itself = result is None and ending.sigkilled
    worker = result["detail"] if result is not None and result["outcome"] == "error" else None
    if not itself and worker is None:
        return None
    now = oom_kills.count()
    if kills is None or now is None or now <= kills:
        return None
    return (
        "the kernel killed a process for lack of memory: the host or its cgroup is full, whatever "
        f"the case's budget. Free memory and run again: {ending if itself else worker}"
    )
