"""The one ending of several ranks: the reason counts, and not what another rank has caused."""

from __future__ import annotations

from typing import Any

import pytest

from harness.probes.dead_processes import Ending
from harness.probes.ranks.joint import RankEnding, has_own_reason, is_whole, joined

GLOO = (
    "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by "
    "peer [127.0.0.1]:4711"
)
NCCL = "DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:3690, remote process exited"
STORE = "DistNetworkError: Connection reset by peer"


def failed(outcome: str, detail: str) -> dict[str, Any]:
    """Make the result of a rank that has reported its failure."""
    return {"outcome": outcome, "detail": detail, "traceback": None, "batch_size": 8}


def trained(peak: int, rate: float, **more: Any) -> dict[str, Any]:
    """Make the result of a rank that fits."""
    return {
        "outcome": "fits",
        "peak_memory_bytes": peak,
        "samples": 24,
        "samples_per_second": rate,
        "growing": False,
        "growth": None,
        "finite_loss": True,
        "notes": [],
        "steps": 3,
        **more,
    }


def ended(rank: int, result: Any = None, **more: Any) -> RankEnding:
    """Make the ending of a rank; without a result it has died."""
    cut_off = more.pop("cut_off", False)
    code = 0 if result is not None else -9
    return RankEnding(
        rank, Ending(code, phase="backward", result=result, **more), "no.log", cut_off=cut_off
    )


@pytest.mark.parametrize("consequence", [GLOO, NCCL, STORE])
@pytest.mark.parametrize("reason", [failed("oom", "OutOfMemoryError"), failed("error", "KeyError")])
def test_the_reason_counts_and_not_the_broken_collective(reason: Any, consequence: str) -> None:
    """Whichever of them ends first, the rank that has failed by itself is told."""
    told = ended(1, reason), ended(0, failed("error", consequence))
    for endings in (told, told[::-1]):
        found = joined(endings, "train")
        result: Any = found.result
        assert (1, reason["detail"]) == (found.rank, result["detail"])


def test_running_out_of_memory_goes_before_an_error() -> None:
    """A batch is out of memory where one rank is, whatever another one says first."""
    found = joined([ended(0, failed("error", "KeyError")), ended(1, failed("oom", "OOM"))], "train")
    result: Any = found.result
    assert (1, "oom") == (found.rank, result["outcome"])


def test_a_rank_that_died_is_the_reason_of_a_broken_collective() -> None:
    """A process that the kernel has killed tells nothing; the other rank tells of its absence."""
    found = joined([ended(0, failed("error", GLOO)), ended(1)], "train")
    assert (1, "was killed by SIGKILL") == (found.rank, str(found))


def test_a_rank_that_was_ended_for_another_is_no_reason() -> None:
    """What the harness has ended has died by SIGKILL, too."""
    found = joined([ended(1, cut_off=True), ended(0, failed("error", GLOO))], "train")
    assert 0 == found.rank


def test_a_time_out_tells_where_each_rank_was() -> None:
    """Which rank keeps the others waiting nobody knows, but who looks may see it."""
    found = joined([ended(1, timed_out=8.0), ended(0, timed_out=8.0)], "train")
    assert "timed out after 8 s (rank 0 in backward, rank 1 in backward)" == str(found)


def test_ranks_that_fit_have_one_result() -> None:
    """The largest peak, named; the samples and the speed of all; the steps of one."""
    found = joined([ended(1, trained(7, 10.0)), ended(0, trained(5, 30.0))], "train")
    result: Any = found.result
    assert (7, 1, 40.0, 48, 3) == tuple(
        result[name]
        for name in ("peak_memory_bytes", "rank", "samples_per_second", "samples", "steps")
    )


@pytest.mark.parametrize(
    ("result", "whole"),
    [
        ({"outcome": "fits", "refusal": None, "raised": None}, True),
        ({"outcome": "fits", "refusal": "two optimizers", "raised": None}, False),
        ({"outcome": "fits", "refusal": None, "raised": "ValueError"}, False),
        (failed("oom", "OOM"), False),
        (None, False),
    ],
)
def test_a_sweep_that_ended_early_is_not_whole(result: Any, *, whole: bool) -> None:
    """Other ranks would wait for a rank that refuses or raises, though it has an answer."""
    assert whole == is_whole(ended(0, result))


def test_a_broken_collective_is_no_reason_of_its_own() -> None:
    """Who failed so has the time that the rank needs which has failed before."""
    endings = ended(0, failed("error", GLOO)), ended(0, failed("error", "KeyError")), ended(0)
    assert [False, True, True] == [has_own_reason(one) for one in endings]
