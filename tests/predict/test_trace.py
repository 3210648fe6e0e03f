"""Traces as data: interpolation to any batch size, and the largest batch of a GPU."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from harness.predict.largest_batch import Holder, Limits, holders_at_peak, largest_batch, simulate
from harness.predict.trace import (
    AffineTrace,
    Block,
    DirectTraces,
    Mark,
    QuadraticTrace,
    Trace,
    TraceMismatchError,
)

MIB = 1 << 20


def trace(batch_size: int) -> Trace:
    """Return a training with 30 MiB of parameters, 16 MiB per sample, and cuBLAS's workspace."""
    return Trace(
        batch_size,
        (
            Block(30 * MIB, "parameter", "net"),
            Block(16 * MIB * batch_size, "activation", "net.0"),
            Block(0, "workspace", "cuBLAS"),
            Block(30 * MIB, "gradient", "net"),
        ),
        (0, 1, 2, 3, ~1, ~3),
        (Mark(0, "model"), Mark(1, "step 1 forward"), Mark(3, "step 1 backward")),
        ("a note",),
    )


@pytest.fixture
def affine() -> AffineTrace:
    """Return the line through traces at 2 and 4 samples."""
    return AffineTrace(trace(2), trace(4))


def test_json_gives_the_same_trace() -> None:
    """A trace survives a round trip through JSON."""
    assert trace(2) == Trace.from_json(json.loads(json.dumps(trace(2).to_json())))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 1000])
def test_sizes_are_on_the_line_through_both(affine: AffineTrace, batch_size: int) -> None:
    """Every block is as large as a trace at that batch size would have it."""
    assert trace(batch_size) == affine.at(batch_size)


def test_sizes_between_two_numbers_are_rounded_up() -> None:
    """A size that grows by one byte in two samples is rounded up, never down."""
    small, large = (
        Trace(batch_size, (Block(num_bytes, "activation", ""),), (0,))
        for batch_size, num_bytes in ((2, 1), (4, 2))
    )
    assert [[1], [2], [2], [3]] == [AffineTrace(small, large).sizes(size) for size in (2, 3, 4, 5)]


def sized(batch_size: int, *sizes: int) -> Trace:
    """Return a training that makes blocks of these sizes, and keeps them."""
    return Trace(
        batch_size,
        tuple(Block(size, "activation", "net") for size in sizes),
        tuple(range(len(sizes))),
    )


@pytest.mark.parametrize(
    ("sizes", "outgrown"),
    [
        ((100, 100), False),
        ((100, 200), False),
        ((150, 200), False),
        ((100, 201), True),
        ((4, 16), True),
    ],
)
def test_what_outgrows_the_batch_is_noticed(sizes: tuple[int, int], outgrown: bool) -> None:
    """From batch 2 to 4, only a size that more than doubles outgrows the batch."""
    assert outgrown == AffineTrace(sized(2, sizes[0]), sized(4, sizes[1])).is_outgrown


@pytest.mark.parametrize("batch_size", [1, 3, 16, 1000])
def test_sizes_are_on_the_parabola_through_three(batch_size: int) -> None:
    """Quadratic, affine and constant sizes all lie on their parabolas."""

    def sizes(batch: int) -> Trace:
        return sized(batch, 3 * batch * batch, 7 * batch + 5, 11, batch * (batch - 1) // 2)

    assert sizes(batch_size) == QuadraticTrace(sizes(2), sizes(4), sizes(8)).at(batch_size)


def test_parabola_needs_the_same_events() -> None:
    """A training with other events at one of three batch sizes is refused."""
    with pytest.raises(TraceMismatchError, match=r"at batch 2 .* than at 8"):
        QuadraticTrace(sized(2, 1), sized(4, 2), sized(8, 4, 4))


def test_first_aim_of_direct_traces_is_where_two_peaks_lead() -> None:
    """The aim is where the line through the first two peaks meets the limit."""
    known = [sized(2, 1000 + 20), sized(4, 1000 + 40)]
    assert 100 == DirectTraces(lambda size: sized(size, 1000 + 10 * size), known).aim(2000)
    assert None is DirectTraces(lambda size: sized(size, 1), known[:1]).aim(2000)


def test_traces_with_other_events_say_nothing() -> None:
    """A training whose steps depend on the batch size is refused, with both counts."""
    other = replace(trace(4), events=(0, 1, 2, 3))
    with pytest.raises(
        TraceMismatchError, match=r"at batch 2 \(6 allocations and frees\) than at 4 \(4\)"
    ):
        AffineTrace(trace(2), other)


def test_direct_traces_are_taken_once_each() -> None:
    """The largest batch is found with one trace per batch size in question."""
    taken: list[int] = []

    def take(batch_size: int) -> Trace:
        taken.append(batch_size)
        return trace(batch_size)

    assert 64 == largest_batch(DirectTraces(take), Limits(1104 * MIB, 8 * MIB), maximum=65536)
    assert {64, 65} < {*taken}
    assert len(taken) == len({*taken})


@pytest.mark.parametrize(("workspace", "expected"), [(8 * MIB, 64), (32 * MIB, 63)])
def test_largest_batch_fills_the_limit(affine: AffineTrace, workspace: int, expected: int) -> None:
    """The largest batch leaves no room for one more sample.

    1104 MiB hold 30 + 30 MiB, cuBLAS's 20 or 32 MiB, and 16 MiB per sample.
    """
    limits = Limits(1104 * MIB, workspace)
    assert expected == largest_batch(affine, limits, maximum=65536)
    assert ["fits", "oom"] == [
        simulate(affine.at(size), limits).outcome for size in (expected, expected + 1)
    ]


def test_cap_and_nothing(affine: AffineTrace) -> None:
    """The largest batch is no larger than what is asked for, and 0 when one sample is too much."""
    assert 5 == largest_batch(affine, Limits(1104 * MIB, 0), maximum=5)
    assert 0 == largest_batch(affine, Limits(40 * MIB, 0), maximum=65536)


def test_holders_are_those_of_the_fullest_moment(affine: AffineTrace) -> None:
    """The holders are those of the peak, the largest first, with its phase."""
    phase, holders = holders_at_peak(affine.at(1), Limits(1104 * MIB, 32 * MIB))
    assert "step 1 backward" == phase
    assert {
        Holder("parameter", "net", 30 * MIB),
        Holder("gradient", "net", 30 * MIB),
        Holder("workspace", "cuBLAS", 32 * MIB),
        Holder("activation", "net.0", 16 * MIB),
    } == set(holders)
    assert holders == sorted(holders, key=lambda holder: -holder.num_bytes)
