"""The table that a lock keeps of what holds the memory at a peak."""

from __future__ import annotations

import pytest

from harness.breakdown.table import kind_of, make_table, module_of
from harness.measurement import LOCKED_HOLDERS


def test_two_sizes_tell_what_each_sample_takes() -> None:
    """What both batches hold alike is there whatever the batch; the difference is the samples'."""
    table = make_table(
        {"parameter": 400, "activation of head": 10 * 32 + 8, "input": 10 * 4},
        10,
        {"parameter": 400, "activation of head": 5 * 32 + 8, "input": 5 * 4},
        5,
    )
    assert {"parameter": 400, "activation of head": 8} == table.memory
    assert {"activation of head": 32, "input": 4} == table.per_sample


@pytest.mark.parametrize(
    ("now", "then"),
    [
        (1000, 900),  # less than in proportion
        (1000, 100),  # more than in proportion
        (1000, 0),  # the peak is at another place
        (1000, 2000),  # less than the smaller batch
        (7, 5),
    ],
)
def test_parts_add_up_and_none_is_negative(now: int, then: int) -> None:
    """Whatever the smaller batch holds, the parts are the bytes of the larger one."""
    name = "activation of head"
    table = make_table({name: now}, 10, {name: then}, 6)
    fixed, slope = table.memory.get(name, 0), table.per_sample.get(name, 0)
    assert now == fixed + 10 * slope
    assert min(fixed, slope) >= 0


def test_one_size_tells_the_bytes_alone() -> None:
    """Without a smaller batch nothing is said of samples."""
    assert ({"parameter": 4}, {}) == make_table({"parameter": 4}, 10)


def test_only_the_largest_modules_are_named() -> None:
    """The others of each kind are together; a kind that has no modules always stays."""
    held = {f"activation of blocks.{number}": 1000 - number for number in range(100)}
    table = make_table(held | {"input": 1, "workspace of blocks.7": 5}, 1)
    assert LOCKED_HOLDERS + 3 == len(table.memory)
    assert (
        sum(sorted(held.values())[:-LOCKED_HOLDERS]) == table.memory["activation of other modules"]
    )
    assert 5 == table.memory["workspace of other modules"]
    assert sum(held.values()) + 6 == sum(table.memory.values())


@pytest.mark.parametrize(
    ("name", "kind", "module"),
    [
        ("parameter", "parameter", ""),
        ("activation of a of b", "activation", "a of b"),
        ("activation gradient of head", "activation gradient", "head"),
        ("activation outside of all modules", "activation", "outside of all modules"),
        ("workspace of cuBLAS", "workspace", "cuBLAS"),
    ],
)
def test_name_of_a_holder_has_kind_and_module(name: str, kind: str, module: str) -> None:
    """A name is split as `Holder` makes it."""
    assert (kind, module) == (kind_of(name), module_of(name))
