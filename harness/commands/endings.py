"""Tells how a program has ended, from its exit code, its output and the reports of its processes.

Pure: it judges what was seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from harness.commands import ranks
from harness.commands.inside.reports import Report
from harness.visible import visible
from harness.wording import describe_exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.commands.program import Ended
    from harness.protocol.messages import Phase

Outcome = Literal["fits", "oom", "error", "dataset", "machine"]

# The texts of failures for lack of memory that no report tells of: the program died in native
# code, or another process of it raised.
_OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA out of memory.",
    "OutOfMemoryError:",
    "std::bad_alloc",
    "MemoryError",
)
_FAILED = ("oom", "error", "machine")
_PHASES = ("data", "forward", "backward", "optimizer")
_LAST_LINES = 40
_PYTHONPATH = (
    "gpu-profile looks into a Python through PYTHONPATH: where a script sets it anew, write "
    "`PYTHONPATH=…:$PYTHONPATH`, and leave out -I and -E"
)


@dataclass(frozen=True)
class Seen:
    """What is known of a program that has ended."""

    ended: Ended
    reports: Sequence[Report]
    """The processes that imported torch, that with the most steps first."""
    python: bool
    """Whether a Python was looked into at all."""
    broken: str | None = None
    """Why a Python with torch could not be looked into."""
    num_ranks: int = 1
    """The ranks that the program has to start."""

    @property
    def trained(self) -> Report:
        """The report of the process that trained; of ranks, the one with the largest peak."""
        reports = self.reports if self.num_ranks == 1 else ranks.of_ranks(self.reports)
        return reports[0] if reports else Report()

    @property
    def last_lines(self) -> str:
        """The end of the output, in the place of a traceback."""
        return visible("\n".join(self.ended.output.rstrip().splitlines()[-_LAST_LINES:]))


@dataclass(frozen=True)
class Told:
    """How a program has ended."""

    outcome: Outcome
    detail: str | None = None
    traceback: str | None = None
    phase: Phase | None = None
    above_limit: bool = False
    report: Report = field(default_factory=Report)
    """Of the process that trained."""


def not_started(reason: str) -> Told:
    """Return the end of a program that could not be started."""
    return Told("error", reason)


def tell(seen: Seen, batch_size: int, steps: int, accelerator: str) -> Told:
    """Return how a program has ended.

    steps: the optimizer steps that are asked for.
    """
    trained = seen.trained
    return (
        _out_of_memory(seen)
        or _failed(seen, trained, steps)
        or _out_of_data(trained, batch_size)
        or _too_short(seen, trained, steps, accelerator)
        or _above_limit(trained)
        or Told("fits", report=trained)
    )


def _out_of_memory(seen: Seen) -> Told | None:
    """Return the end of a program whose memory ran out, or whose GPU is not to be used."""
    for report in seen.reports:
        if (trouble := report.text("trouble")) is not None:
            return Told("machine", trouble, report=report)
        if told := _failure(report.mapping("oom")):
            return Told(*told, report=report)
    return None


def _out_of_data(trained: Report, batch_size: int) -> Told | None:
    samples = trained.get("samples")
    if type(samples) is not int or not 0 <= samples < batch_size:
        return None
    detail = f"its largest loader of this batch size has {samples} samples"
    return Told("dataset", detail, report=trained)


def _above_limit(trained: Report) -> Told | None:
    excess = trained.text("excess")
    return None if excess is None else Told("oom", excess, above_limit=True, report=trained)


def _failed(seen: Seen, trained: Report, steps: int) -> Told | None:
    """Return the end of a program that failed by itself."""
    code = seen.ended.exit_code
    took = trained.number("steps")
    if code == 0 and not trained.mapping("failure"):
        # A script may go on after its program has failed, and end without an error.
        others = [one for one in seen.reports if one.mapping("failure")]
        if took >= steps or not others:
            return None
    if seen.num_ranks > 1 and (told := _failed_rank(seen)) is not None:
        return told
    for report in seen.reports:
        if failure := _failure(report.mapping("failure")):
            return Told(*failure, report=report)
    how = describe_exit(code) if code else "ended"
    if _ran_out(seen):
        return Told("oom", f"the program {how}, out of memory", seen.last_lines, report=trained)
    last = next(iter(reversed(seen.last_lines.splitlines())), "")
    detail = f"the program {how}" + (f": {last}" if last and code >= 0 else "")
    return Told("error", detail, seen.last_lines or None, report=trained)


def _failed_rank(seen: Seen) -> Told | None:
    """Return the end of a program by the rank that failed by itself; None where none tells."""
    for report in ranks.with_own_reasons(seen.reports):
        if told := _failure(report.mapping("failure")):
            return Told(*told, report=report)
    first = ranks.first_to_fail(seen.ended.output)
    if first is None or _ran_out(seen):
        return None
    rank, code = first
    detail = f"a process of the program {describe_exit(code)}"
    return Told("error", detail, seen.last_lines, report=Report(seen.trained, rank=rank))


def _too_short(seen: Seen, trained: Report, steps: int, accelerator: str) -> Told | None:
    """Return the end of a program without an error that has not trained enough."""
    took = trained.number("steps")
    uses_gpu = accelerator == "cpu" or trained.flag("is_set")
    has_trained = any(one.number("steps") for one in seen.reports)
    if seen.num_ranks > 1 and has_trained and uses_gpu and not _ran_out(seen):
        why = ranks.why_fewer(ranks.of_ranks(seen.reports), seen.num_ranks, steps)
        return None if why is None else Told("error", why, seen.last_lines, report=trained)
    if took >= steps and uses_gpu:
        return None
    if took < steps and _ran_out(seen):
        return Told("oom", "the program ended, out of memory", seen.last_lines, report=trained)
    lines = seen.last_lines or None
    return Told("error", _why_short(seen, took, steps), lines, report=trained)


def _why_short(seen: Seen, took: int, steps: int) -> str:
    if seen.broken is not None:
        return f"gpu-profile cannot look into the program: {seen.broken}"
    if not seen.python:
        return (
            "the program ended without a Python that could be looked into, and only a training in "
            f"Python with torch can be: {_PYTHONPATH}"
        )
    if not seen.reports:
        return (
            "the program ended and did not import torch, so nothing was trained: see what it "
            f"printed. {_PYTHONPATH}"
        )
    if not took:
        return (
            "the program ended and took no optimizer step: see what it printed, whether its data "
            "hold a batch of this size, and whether it went on in the background"
        )
    if took < steps:
        return (
            f"the program ended after {took} optimizer step{'s' * (took != 1)}, and a probe needs "
            f"{steps} (search.steps_per_trial): let the command train longer, such as with "
            f"--max-steps {steps}"
        )
    return "the program trained, and not on the GPU that CUDA_VISIBLE_DEVICES shows it"


def _failure(told: dict[str, Any]) -> tuple[Outcome, str, str | None, Phase | None] | None:
    """Return outcome, detail, traceback and phase that a process has told."""
    outcome, detail = told.get("outcome"), told.get("detail")
    if outcome not in _FAILED or not isinstance(detail, str):
        return None
    traceback, phase = told.get("traceback"), told.get("phase")
    return (
        cast("Outcome", outcome),
        detail,
        traceback if isinstance(traceback, str) else None,
        cast("Phase", phase) if phase in _PHASES else None,
    )


def _ran_out(seen: Seen) -> bool:
    return any(text in seen.ended.output for text in _OUT_OF_MEMORY)
