"""Mappings whose keys are whole numbers, on their way through JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.workload.build import arguments
from harness.workload.int_keys import for_json


@pytest.mark.parametrize(
    "value",
    [
        {"scheduling": {0: 8, 4: 4}},
        {"deep": [{"in": {-1: {"a": {10: [1, {2: 3}]}}}}]},
        {"mixed": {0: "number", "0": "text"}},
        {"none": {}, "texts": {"a": 1}},
    ],
)
def test_mappings_come_through_with_their_keys(value: dict[str, Any]) -> None:
    """What the zygote builds from JSON is what was sent."""
    assert value == arguments(json.loads(json.dumps(for_json(value))))


def test_specs_among_the_values_are_built() -> None:
    """A spec below a whole number is built like any other."""
    value = {"by": {3: {"class_path": "fractions.Fraction", "init_args": {"numerator": 2}}}}
    assert {"by": {3: 2}} == arguments(json.loads(json.dumps(for_json(value))))


def test_data_without_such_keys_stay_as_they_are() -> None:
    """Nothing changes in what JSON can hold by itself."""
    value = {"class_path": "a.B", "init_args": {"x": [1, {"y": None}]}}
    assert value == for_json(value)
