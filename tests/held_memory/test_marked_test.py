"""What held GPU memory at the peak of a marked test, and the mark's arguments."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.held_memory.marked_test import held_at_peak, limit_of
from harness.held_memory.user_code import UserCode

TORCH = {"filename": "/usr/lib/python3/site-packages/torch/nn/functional.py", "line": 1}


def alloc(address: int, size: int, line: int | None = None) -> dict[str, Any]:
    """Make an entry of the allocator's history, as torch makes it for a line of the user's."""
    frames = [TORCH] if line is None else [TORCH, {"filename": "net.py", "line": line}]
    return {"action": "alloc", "addr": address, "size": size, "frames": frames}


def free(address: int) -> dict[str, Any]:
    """Make the entry of a free."""
    return {"action": "free_requested", "addr": address}


def test_peak_is_divided_among_lines_and_what_was_held_before() -> None:
    """Only what is live at the peak counts; an address is used again after its free."""
    entries = [
        alloc(1, 50, line=1),
        free(1),
        alloc(1, 40, line=2),
        alloc(2, 20, line=2),
        free(9),
        alloc(3, 30),
        alloc(4, 5, line=3),
        free(4),
        alloc(5, 1, line=4),
    ]
    expected = Counter({"net.py:2": 60, "no line of Python, such as a backward pass": 30})
    expected |= Counter({"net.py:3": 5, "held before the test began": 7})
    assert (102, expected) == held_at_peak(entries, {8: 7, 9: 3}, UserCode())


def test_peak_before_the_test_is_all_that_was_held_before() -> None:
    """A test that only frees has the peak at its beginning."""
    expected = Counter({"held before the test began": 10})
    assert (10, expected) == held_at_peak([free(9)], {8: 7, 9: 3}, UserCode())


@pytest.mark.parametrize(
    ("arguments", "named", "limit"),
    [(("2 GiB",), {}, 2 << 30), ((), {"limit": "512MiB"}, 512 << 20), ((1000,), {}, 1000)],
)
def test_limit_is_a_size(
    arguments: tuple[object, ...], named: dict[str, object], limit: int
) -> None:
    """A limit is written as sizes are in a matrix."""
    assert limit == limit_of(arguments, named)


@pytest.mark.parametrize(
    ("arguments", "named", "message"),
    [
        ((), {}, 'takes one limit: @pytest.mark.gpu_memory("2 GiB")'),
        (("1GiB", "2GiB"), {}, "takes one limit"),
        ((), {"most": "1GiB"}, "takes one limit"),
        (("1 gib",), {}, "did you mean 1GiB?"),
        ((0.5,), {}, "a size such as 40GiB"),
    ],
)
def test_other_arguments_are_refused(
    arguments: tuple[object, ...], named: dict[str, object], message: str
) -> None:
    """The error says what is allowed."""
    with pytest.raises(HarnessError) as caught:
        limit_of(arguments, named)
    assert message in str(caught.value)
