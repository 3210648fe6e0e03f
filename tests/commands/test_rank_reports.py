"""Which rank of a program is the reason, by the reports of its processes and its launcher."""

from __future__ import annotations

from typing import Any

import pytest

from harness.commands import ranks
from harness.commands.endings import Seen, tell
from harness.commands.inside.reports import Report
from harness.commands.program import Ended

BROKEN = "RuntimeError: [../gloo/transport/tcp/pair.cc:537] Connection reset by peer"
SUMMARY = """\
train.py FAILED
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-01-01_00:00:00
  host      : here
  rank      : 3 (local_rank: 1)
  exitcode  : {code} (pid: 4711)
  error_file: <N/A>
"""


def rank(number: int | None, steps: int = 4, peak: int = 1, **more: Any) -> Report:
    """Make the report of a rank."""
    return Report(rank=number, steps=steps, peak=peak, pid=100 + (number or 0), **more)


def failure(detail: str) -> dict[str, Any]:
    """Make what a process tells of its failure."""
    return {"outcome": "error", "detail": detail, "traceback": None}


def told(*reports: Report, code: int = 0, output: str = "", num_ranks: int = 2) -> tuple[Any, ...]:
    """Return how a program has ended, and with which rank."""
    ended = tell(Seen(Ended(code, output), reports, True, None, num_ranks), 8, 3, "cpu")
    return ended.outcome, ended.report.get("rank"), ended.detail


def test_the_rank_with_the_largest_peak_counts() -> None:
    """Whatever the number of its steps; processes of a rank that train nothing count nothing."""
    found = told(rank(0, peak=5), rank(1, steps=5, peak=7), rank(1, steps=0, peak=9))
    assert ("fits", 1, None) == found


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        (
            [rank(0), rank(1, steps=1)],
            "rank 1 ended after 1 optimizer step, and a probe needs 3 (search.steps_per_trial) of",
        ),
        ([rank(0)], "the command trained in 1 rank, and trainer.devices is 2: let it start as"),
        ([rank(0), rank(1), rank(2)], "the command trained in 3 ranks, and trainer.devices is 2:"),
        ([rank(None)], "the command trained in a process that is no rank, and trainer.devices is"),
    ],
)
def test_other_ranks_than_those_of_the_case_are_told(reports: list[Report], expected: str) -> None:
    """Fewer, more, or one that ended early."""
    outcome, _, detail = told(*reports)
    assert ("error", expected) == (outcome, detail[: len(expected)])


def test_a_collective_that_broke_is_not_the_reason() -> None:
    """Nor is a launcher that fails with its ranks."""
    found = told(
        rank(None, steps=0, failure=failure("ChildFailedError: ===")),
        rank(0, failure=failure(BROKEN)),
        rank(1, failure=failure("ValueError: not this one")),
        code=1,
    )
    assert ("error", 1, "ValueError: not this one") == found


@pytest.mark.parametrize(
    ("code", "detail"), [(-9, "was killed by SIGKILL"), (7, "exited with code 7")]
)
def test_a_rank_that_ended_without_a_word_is_named_by_the_launcher(code: int, detail: str) -> None:
    """Its own report tells nothing, and that of the other one is a consequence."""
    found = told(
        rank(0, failure=failure(BROKEN)), rank(3), code=1, output=SUMMARY.format(code=code)
    )
    assert ("error", 3, f"a process of the program {detail}") == found


def test_out_of_memory_on_one_rank_is_out_of_memory() -> None:
    """Whatever the other one and the launcher tell, and however the program ended."""
    oom = {"outcome": "oom", "detail": "4 GiB", "traceback": None}
    found = told(
        rank(0, failure=failure("ValueError: later")),
        rank(1, oom=oom),
        code=-9,
        output=SUMMARY.format(code=1),
    )
    assert ("oom", 1, "4 GiB") == found


def test_a_program_ends_once_a_rank_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After two seconds for its own failure, and after 30 for one that another rank has caused."""
    now = [0.0]
    monkeypatch.setattr("harness.commands.ranks.time.monotonic", lambda: now[0])
    reports: list[Report] = []
    is_over = ranks.when_one_fails(lambda: reports)
    seen = [is_over()]
    reports.append(rank(0, failure=failure(BROKEN)))
    for now[0], more in ((0.0, []), (29.0, []), (29.0, [rank(1, failure=failure("own"))])):
        reports += more
        seen.append(is_over())
    now[0] = 30.0
    seen.append(is_over())
    assert [False, False, False, False, True] == seen

    reports[:] = [rank(0, oom={"outcome": "oom", "detail": "4 GiB", "traceback": None})]
    is_over = ranks.when_one_fails(lambda: reports)
    told_at = [is_over()]
    now[0] += 2.0
    assert [False, True] == [*told_at, is_over()]
