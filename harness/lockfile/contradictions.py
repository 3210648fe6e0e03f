"""Refuses a locked profile whose values contradict each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.lockfile.block_reader import Block
    from harness.measurement import Profile


def refuse_contradictions(block: Block, profile: Profile) -> None:
    """Raise LockError, with the line, where values do not fit together."""
    _check_range(block, profile)
    _check_accumulation(block, profile)
    _check_buckets(block, profile)


def _check_accumulation(block: Block, profile: Profile) -> None:
    """Refuse a step that does not hold the samples that it says."""
    number, total = profile.accumulate_grad_batches, profile.global_batch_size
    if number is None and total is None:
        return
    ranks = profile.device.count
    if number is None or total != profile.batch_size * number * ranks:
        block.fail(
            "global_batch_size",
            f"is {total}; batch_size, {profile.batch_size}, times accumulate_grad_batches, "
            f"{number},{f' times device.count, {ranks},' if ranks > 1 else ''} is needed",
        )


def _check_range(block: Block, profile: Profile) -> None:
    """Refuse a range that does not hold the learning rate: every measurement would be outside."""
    if not profile.learning_rate_range:
        return
    rate, ends = profile.learning_rate, profile.learning_rate_range
    if rate is None:
        block.fail("learning_rate_range", "has no learning_rate to be the range of")
    if len(ends) != 2 or not ends[0] <= rate <= ends[1]:  # noqa: PLR2004 - a range has two ends
        block.fail(
            "learning_rate_range",
            f"is {list(ends)!r:.80}; the lowest and the highest learning rate are needed, with"
            f" learning_rate, {rate}, between them",
        )


def _check_buckets(block: Block, profile: Profile) -> None:
    """Refuse buckets whose edges do not rise, or whose last is not that of the profile."""
    buckets = profile.buckets
    if not buckets:
        return
    edges = [bucket.edge for bucket in buckets]
    if sorted(set(edges)) != edges:
        block.fail("buckets", f"have the edges {edges!r:.80}; rising ones are needed")
    last = buckets[-1]
    if (last.batch_size, last.max_batch_size) != (profile.batch_size, profile.max_batch_size):
        block.fail(
            "buckets",
            f"end with batch_size {last.batch_size} and max_batch_size {last.max_batch_size}; those "
            f"of the profile, {profile.batch_size} and {profile.max_batch_size}, are needed",
        )
