"""The recorded exceptions that torch's own code raises are those that it raises today."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import recorded_exceptions
import torch
from recorded_exceptions import (
    BEFORE,
    FIXTURES,
    IS_OLD,
    SCENARIOS,
    in_general,
    recorded,
    without_paths,
)

if TYPE_CHECKING:
    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

RECORDS: dict[str, dict[str, Any]] = {
    record["row"]: record for record in json.loads(FIXTURES.read_text(encoding="utf-8"))
}
# Tracebacks differ between versions of Python.
TOLD_ANEW = "other CUDA call, pinned host memory, the loader's thread"


def is_older(record: dict[str, Any]) -> bool:
    """Return whether the torch of this environment is older than the one of a record."""
    return release(torch.__version__) < release(record["source"].split()[3])


def release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version: (2, 12) for 2.12.1+cu130."""
    return tuple(int(number) for number in version.split(".")[:2])


@pytest.mark.parametrize("row", [*SCENARIOS, *(BEFORE if IS_OLD else ())])
def test_torch_raises_what_is_recorded(worlds: Worlds, row: str) -> None:
    """Type, code, arguments and number of failures are equal; so is the text but for numbers.

    An older torch has other types and words, which count as the same kind of failure.
    """
    made, record = recorded_exceptions.make(worlds, row), RECORDS[row]
    assert (record["expected"], False) == (made["expected"], made["seen_on_gpu"])
    if is_older(record):
        return
    same = ("type", "error_code", "args", "num_ooms_delta")
    assert {key: record[key] for key in same} == {key: made[key] for key in same}
    ends = [in_general(one["message"]).splitlines() for one in (record, made)]
    if row == TOLD_ANEW:
        ends = [[lines[0], *lines[-6:]] for lines in ends]
    assert ends[0] == ends[1]


def test_new_record_keeps_expectation_and_place() -> None:
    """A row that a real GPU has shown stays as it is, and a new row is added."""
    old = {"row": "a", "message": "read", "expected": "device", "seen_on_gpu": False}
    records: list[dict[str, Any]] = [
        old | {"source": "torch 2.4, Exceptions.h"},
        old | {"row": "b", "seen_on_gpu": True, "source": "seen on NVIDIA H100"},
    ]
    for row in ("a", "a", "b", "c"):
        recorded(records, {"row": row, "message": "made", "expected": None, "seen_on_gpu": False})
    assert [("a", "made", "device"), ("b", "read", "device"), ("c", "made", None)] == [
        (record["row"], record["message"], record["expected"]) for record in records
    ]
    assert records[0]["source"].endswith("on a simulated GPU: torch 2.4, Exceptions.h")


def test_message_is_compared_without_folders_and_numbers() -> None:
    """Of a traceback the file within its package stays, and a size is as good as another."""
    message = 'File "/home/me/lib/site-packages/torch/x.py", line 34: tried to allocate 2.00 GiB'
    assert 'File "torch/x.py", line N: tried to allocate N GiB' == in_general(
        without_paths(message)
    )
