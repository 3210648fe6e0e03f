"""Reads the buckets of lengths of a locked profile."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast, get_args

from harness.measurement import BoundedBy, Bucket

if TYPE_CHECKING:
    from harness.lockfile.block_reader import Block


def read_buckets(block: Block, key: str) -> tuple[Bucket, ...]:
    """Read the list of buckets. Raises LockError for one that no lock can hold."""
    return tuple(_read(table) for table in block.tables(key))


def _read(table: Block) -> Bucket:
    number = table.number("edge")
    bucket = Bucket(
        int(number) if number.is_integer() else number,
        table.count("batch_size"),
        table.count("max_batch_size"),
        cast("BoundedBy", table.word("bounded_by", get_args(BoundedBy))),
    )
    if bucket.batch_size > bucket.max_batch_size:
        table.fail(
            "batch_size",
            f"{bucket.batch_size} is more than max_batch_size, {bucket.max_batch_size}",
        )
    return bucket
