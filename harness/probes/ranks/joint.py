"""Makes one ending of those of all ranks: why a probe failed, or what all of them measured.

A collective breaks on every rank when one of them is gone. So an error of a collective is a
consequence, and counts as the reason only where nothing else does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.failures.broken_collectives import is_broken, tells_of_another_rank
from harness.probes.dead_processes import Ending, explain_death

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.protocol.messages import Result

_LARGEST = ("peak_memory_bytes", "peak_allocated_bytes", "non_torch_bytes", "alloc_retries")


@dataclass(frozen=True)
class RankEnding:
    """How one rank of a probe has ended."""

    rank: int
    ending: Ending
    log: str
    afresh: str | None = None
    """Why its probe could not be forked."""
    cut_off: bool = False
    """Whether it was ended because another rank had failed."""

    @property
    def told(self) -> Any:
        """Its result, or how it died."""
        return self.ending.result or explain_death(self.ending, self.log)


def is_whole(one: RankEnding) -> bool:
    """Return whether a rank has done all that was asked of it."""
    result: Any = one.ending.result
    return (
        result is not None
        and result["outcome"] == "fits"
        and result.get("refusal") is None
        and result.get("raised") is None
    )


def has_own_reason(one: RankEnding) -> bool:
    """Return whether a rank has failed for a reason of its own, and not because another one has."""
    return not one.cut_off and (_ran_out(one) or not _is_broken(one))


def joined(ended: Sequence[RankEnding], task: str) -> Ending:
    """Return the ending of a probe of several ranks.

    ended: the endings of all ranks, the first in time first.

    It is out of memory where one rank is. Else the first failure counts that no other rank has
    caused. Where all ranks did what was asked, their results are made one.
    """
    failed = [one for one in ended if not is_whole(one)]
    if not failed:
        return _all_whole(sorted(ended, key=lambda one: one.rank), task)
    reason = min(failed, key=_order)
    ending = replace(reason.ending, rank=reason.rank)
    if ending.timed_out is not None and len(failed) > 1:
        ending = replace(ending, others=f" ({_phases(failed)})")
    result: Any = ending.result
    if result is None:
        return ending
    result = {**result, "rank": reason.rank}
    return replace(ending, result=result)


def _order(one: RankEnding) -> int:
    """Return the place of a failure among those of all ranks; the first of the lowest counts."""
    if one.cut_off:
        return 4
    if _ran_out(one):
        return 0
    if one.ending.timed_out is not None:
        return 2
    return 3 if _is_broken(one) else 1


def _ran_out(one: RankEnding) -> bool:
    return bool(one.told["outcome"] == "oom")


def _is_broken(one: RankEnding) -> bool:
    """Return whether a rank has failed because a collective did: another rank is gone."""
    told = one.told
    if told["outcome"] == "fits":
        return bool(told.get("raised") and is_broken(told["raised"]))
    return told["outcome"] != "oom" and tells_of_another_rank(told["detail"], told["traceback"])


def _phases(ended: Sequence[RankEnding]) -> str:
    """Return in words where ranks were: `rank 0 in backward, rank 1 in forward`."""
    by_rank = sorted(ended, key=lambda one: one.rank)
    return ", ".join(f"rank {one.rank} in {one.ending.phase or 'setup'}" for one in by_rank)


def _all_whole(ended: Sequence[RankEnding], task: str) -> Ending:
    """Return the ending of ranks that have all done what was asked, rank 0 first."""
    results: list[Any] = [one.ending.result for one in ended]
    if task == "holders":
        most = max(ended, key=lambda one: _peak(one.ending.result))
        return replace(most.ending, rank=most.rank)
    result = dict(results[0])
    if task in ("train", "infer"):
        largest = max(range(len(results)), key=lambda rank: _peak(results[rank]))
        result["rank"] = largest
        for name in _LARGEST:
            if name in results[largest]:
                result[name] = results[largest][name]
        result["growth"] = next(
            (one["growth"] for one in (results[largest], *results) if one["growth"]), None
        )
        rates = [one["samples_per_second"] for one in results]
        result["samples_per_second"] = None if None in rates else sum(rates)
        result["samples"] = sum(one["samples"] for one in results)
        result["alloc_retries"] = max(one.get("alloc_retries", 0) for one in results)
        result["growing"] = any(one["growing"] for one in results)
        result["finite_loss"] = all(one["finite_loss"] for one in results)
        result["notes"] = list(dict.fromkeys(note for one in results for note in one["notes"]))
        if "alloc_retries" not in results[0]:
            del result["alloc_retries"]
    whole: Result = result  # type: ignore[assignment]  # of the type that rank 0's has
    return replace(ended[0].ending, result=whole)


def _peak(result: Any) -> int:
    return int(result["peak_memory_bytes"])
