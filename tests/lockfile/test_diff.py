"""Comparing two lockfiles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from measurements import A100, CPU, locked

from harness.lockfile.diff import Change, diff
from harness.lockfile.profiles import Lock

if TYPE_CHECKING:
    from harness.case_names import Scalar


def test_diff_of_equal_locks_is_empty() -> None:
    """Locks that differ only in digits that the file does not hold are equal."""
    assert (
        diff(Lock(Path("a"), (locked(),)), Lock(Path("b"), (locked(learning_rate=0.00316001),)))
        == []
    )


def test_diff_names_added_removed_and_changed() -> None:
    """Each profile is compared with the one of the same case and device."""
    old = Lock(
        Path("a"), (locked(), locked(model="vit"), locked(gpu="cpu", device=CPU, emulated=True))
    )
    new = Lock(
        Path("b"), (locked(batch_size=3000), locked(model="vit"), locked(gpu="a100", device=A100))
    )
    assert [str(difference) for difference in diff(old, new)] == [
        "resnet18-a100-224 on NVIDIA A100-SXM4-40GB: added",
        "resnet18-cpu-224 on cpu: removed",
        "resnet18-h200-224 on NVIDIA H200: batch_size 3328 -> 3000 (-9.9%)",
    ]


def test_diff_reaches_into_tables() -> None:
    """Values in a table have dotted names; a missing value is None."""
    old = Lock(Path("a"), (locked(),))
    new = Lock(
        Path("b"), (locked(workload=locked().workload | {"num_parameters": 1}, lr_refusal="noise"),)
    )
    (difference,) = diff(old, new)
    assert difference.changes == (
        Change("workload.num_parameters", 11181642, 1),
        Change("lr_refusal", None, "noise"),
    )


@pytest.mark.parametrize(
    ("old", "new", "relative"),
    [
        (100, 98, -0.02),
        (0.001, 0.002, 1.0),
        ("a", "b", None),
        (None, 3, None),
        (0, 3, None),
        (True, False, None),
        (3, float("nan"), None),
        (3, float("inf"), None),
    ],
)
def test_relative_change_is_of_numbers_only(
    old: Scalar | None, new: Scalar | None, relative: float | None
) -> None:
    """The change is a share of the old value if both are numbers and the old one is not 0."""
    assert Change("x", old, new).relative == (None if relative is None else pytest.approx(relative))
