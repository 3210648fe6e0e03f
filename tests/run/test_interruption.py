"""The case of an interrupted test."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness.run.interruption import case_of

CASES: dict[str, Any] = {
    one: SimpleNamespace(id=one) for one in ("net-cpu-1", "wide-net-cpu-1", "net-cpu-16")
}


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("test_profiles.py::test_gpu_profile[net-cpu-1]", "net-cpu-1"),
        ("test_profiles.py::test_gpu_profile[net-cpu-16]", "net-cpu-16"),
        ("test_profiles.py::test_gpu_profile[wide-net-cpu-1]", "wide-net-cpu-1"),
        ("a.py::TestIt::test_mine[fast-net-cpu-1-0.5]", "net-cpu-1"),
        ("a.py::test_other", None),
        ("a.py::test_other[x]", None),
    ],
)
def test_case_is_found_in_the_id_of_its_test(test: str, expected: str | None) -> None:
    """A test's id holds that of its case, perhaps among further parameters."""
    case = case_of(test, CASES)
    assert expected == (case.id if case is not None else None)
