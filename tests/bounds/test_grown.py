"""What holds more memory than when a case was locked, by measurements."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from measurements import measurement

from harness.bounds.grown import batch_of, growth
from harness.lockfile.profiles import LockedProfile

if TYPE_CHECKING:
    from harness.measurement import Measurement

MIB = 1 << 20
THEN = replace(
    measurement(),
    max_batch_size=100,
    batch_size=100,
    memory_limit_bytes=200 * MIB,
    memory={"parameter": MIB},
    memory_per_sample={"activation of head": MIB, "activation of other modules": 2048},
)


def grown(now: dict[str, int], **changes: Any) -> list[tuple[str, int, int, bool, str]]:
    """Return what has grown where a sample takes `now`, and fewer of them fit."""
    found: Measurement = replace(
        THEN,
        **{
            "max_batch_size": 80,
            "memory_per_sample": now,
            "memory_lines": {"activation of neck": "net.py:3"},
            **changes,
        },
    )
    locked = LockedProfile.from_measurement(THEN)
    assert 100 == batch_of(found, locked)
    return [tuple(one) for one in growth(found, locked)]  # type: ignore[misc] # it has these five


def test_module_that_has_grown_is_named_at_the_locked_batch() -> None:
    """Both tables are read at the batch size that was locked."""
    assert [("activation of head", 100 * MIB, 150 * MIB, False, "")] == grown(
        {"activation of head": MIB * 3 // 2}
    )


def test_new_module_held_at_most_what_the_others_did() -> None:
    """What the lock does not name was among the others."""
    assert [("activation of neck", 204800, 50 * MIB, True, "net.py:3")] == grown(
        {"activation of head": MIB, "activation of neck": MIB // 2}
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"max_batch_size": 100},  # nothing fails
        {"max_batch_size": 0},
        {"memory_per_sample": {}},  # one batch size was trained
    ],
)
def test_nothing_is_said_without_a_smaller_batch_and_two_tables(changes: dict[str, Any]) -> None:
    """There is nothing to explain, or nothing to compare."""
    assert [] == grown({"activation of head": 2 * MIB}, **changes)


def test_little_growth_is_none() -> None:
    """A few bytes explain no smaller batch, and the others together are no module."""
    assert [] == grown({"activation of head": MIB + 100, "activation of other modules": MIB})
