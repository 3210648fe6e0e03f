"""Which changes `--what-if` tries, from a case's settings alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from harness.matrix.cases import parse_matrix
from harness.predict.changes import changes_of, half_of

if TYPE_CHECKING:
    from harness.matrix.case import Case

OF_MODULE = ("activation checkpointing", "channels_last", "fused optimizer", "8-bit optimizer")


def make_case(resolution: Any = 64, argument: str = "size", **trainer: Any) -> Case:
    """Make a case whose data take the resolution as an argument of this name."""
    data = {"class_path": "torch.utils.data.Dataset", "init_args": {argument: "${resolution}"}}
    matrix = {
        "version": 1,
        "matrix": {"model": ["net"], "gpu": ["h200"], "resolution": [resolution]},
        "models": {"net": {"module": {"class_path": "torch.nn.Linear"}, "data": data}},
        "gpus": {"h200": {"name": "NVIDIA H200"}},
        "trainer": trainer,
    }
    (case,) = parse_matrix(json.dumps(matrix), "matrix.yaml")
    return case


def test_each_change_is_in_a_case_of_its_own() -> None:
    """A change of the Trainer is a setting, one of the module a key of the workload."""
    case = make_case()
    changes = changes_of(case, None)
    assert ("bf16-mixed", *OF_MODULE) == tuple(change.name for change in changes)
    mixed, *of_module = (change.case for change in changes)
    assert ({"precision": "bf16-mixed"}, case.workload) == (mixed.trainer, mixed.workload)
    assert [[name] for name in OF_MODULE] == [one.workload["changes"] for one in of_module]
    assert [case.trainer] * 4 == [one.trainer for one in of_module]
    assert "changes" not in case.workload


@pytest.mark.parametrize(
    ("precision", "tried"),
    [("32-true", True), (32, True), ("16-mixed", False), ("bf16-true", False)],
)
def test_mixed_precision_is_tried_in_place_of_float32(precision: str | int, tried: bool) -> None:
    """A case that trains in 16 bits already has nothing to gain."""
    names = [change.name for change in changes_of(make_case(precision=precision), None)]
    assert tried == ("bf16-mixed" in names)


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        ("size", "half the resolution"),
        ("resolution", "half the resolution"),
        ("length", "half the length"),
        ("max_seq_len", "half the length"),
    ],
)
def test_half_is_of_the_resolution_or_of_the_length(argument: str, name: str) -> None:
    """The argument that takes it tells which of them it is."""
    *_, last = changes_of(make_case(64, argument), make_case(32, argument))
    assert (name, 32) == (last.name, last.case.resolution)


def test_half_is_not_tried_where_nothing_depends_on_the_resolution() -> None:
    """A workload without `${resolution}` is the same at half of it."""
    case = make_case()
    names = [change.name for change in changes_of(case, case)]
    assert OF_MODULE == tuple(names[1:])


@pytest.mark.parametrize(
    ("resolution", "half"), [(224, 112), (65, 32), (1, None), ("small", None), (0.5, None)]
)
def test_half_of_a_resolution(resolution: Any, half: int | None) -> None:
    """A resolution that is no whole number, or has no half, is not halved."""
    assert half == half_of(resolution)


def test_logs_of_changes_do_not_mix() -> None:
    """Each change has an id of its own, which names folders and messages."""
    ids = [change.case.id for change in changes_of(make_case(), None)]
    assert "net-h200-64 with bf16-mixed" == ids[0]
    assert len(ids) == len({*ids})
