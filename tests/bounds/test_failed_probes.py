"""Of several failed probes the one that tells most is shown."""

from __future__ import annotations

import pytest
from case_results import measurement

from harness.bounds.failed_probes import telling_failure
from harness.measurement import Probe

COLLATE = "RuntimeError: stack expects each tensor to be equal size, but got [2, 3]"
HOOK = "KeyError: 'no such key'"
ONE = "ValueError: Expected more than 1 value per channel when training, got input size [1, 8]"


def shown(*probes: tuple[int, str, str | None], largest: int = 0) -> int | None:
    """Return the batch size of the probe that is shown."""
    made = tuple(
        Probe(batch_size=size, outcome=outcome, detail=detail)  # type: ignore[arg-type]  # a test's word
        for size, outcome, detail in probes
    )
    found = telling_failure(measurement(max_batch_size=largest, probes=made))
    return None if found is None else found.batch_size


@pytest.mark.parametrize(
    ("probes", "expected"),
    [
        ([], None),
        ([(2, "oom", None), (1, "oom", None)], 1),
        ([(2, "error", HOOK), (1, "error", HOOK)], 1),
        ([(2, "error", "got 2 samples"), (1, "error", "got 1 samples")], 1),
        ([(2, "error", COLLATE), (1, "error", "IndexError: too many indices")], 2),
        ([(2, "error", HOOK), (1, "error", ONE)], 2),
        ([(2, "oom", None), (1, "error", ONE)], 2),
        ([(2, "oom", None), (1, "error", HOOK)], 1),
        ([(2, "dataset", None), (1, "error", HOOK)], 1),
        ([(4, "error", HOOK), (2, "oom", None), (1, "oom", None)], 4),
        ([(8, "error", HOOK), (4, "error", COLLATE)], 4),
    ],
)
def test_nothing_trains(probes: list[tuple[int, str, str | None]], expected: int | None) -> None:
    """An error tells more than a want of memory, and one of a batch of one sample tells least."""
    assert expected == shown(*probes)


def test_smallest_batch_above_the_largest_that_fits_bounds_the_search() -> None:
    """Where some batch trains, the next one that failed is shown."""
    probes = [(2, "fits", None), (9, "error", HOOK), (6, "oom", None), (1, "error", ONE)]
    assert 6 == shown(*probes, largest=5)
