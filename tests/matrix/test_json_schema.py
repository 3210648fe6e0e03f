"""The JSON Schema describes the matrix, and the shipped file is up to date."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped] # its types are published apart
import lightning.pytorch
import pytest

import harness
from harness.matrix.json_schema import matrix_schema, schema_text
from harness.matrix.trainer_settings import REFUSED, TrainerSettings
from harness.matrix.yaml12.reader import read_yaml

MATRIX = """\
version: 1
matrix:
  model: [resnet18, vit_tiny]
  gpu: [h200, cpu-512MiB]
  resolution: [32, 64]
  precision: [32-true]
  exclude:
    - {model: vit_tiny, gpu: cpu-512MiB, resolution: 64}
  include:
    - {resolution: 32, seed: 1}
models:
  resnet18:
    module: {class_path: acme.Net, init_args: {resolution: "${resolution}"}}
    data: {class_path: "acme.${model}", init_args: {resolution: "${resolution}"}}
    search: {round_to: "${resolution}", validation: search, target_memory_fraction: 90%}
  vit_tiny:
    module: {class_path: acme.Net}
    loss:
    batch_size_attr: config.batch_size
gpus:
  h200: {name: NVIDIA H200, memory: 141GB}
  h200-as-24GiB: {name: NVIDIA H200, budget: 24 GiB}
  cpu-512MiB: {accelerator: cpu, budget: 536870912, search: {max_trials: 3}}
trainer: {precision: "${precision}", callbacks: [{class_path: acme.Callback}], deterministic: warn}
search: {mode: exact, safety_factor: 1, probe_timeout: 60}
lr_range: {lr_min: 1.0e-6, seeds: [0, 1, 2], when: changed}
bounds:
  batch_size: {max_drop: 2%}
  learning_rate: {max_factor: "${resolution}"}
"""


def problems(text: str) -> list[jsonschema.ValidationError]:
    """Return the mistakes that the schema finds in a matrix with this text."""
    return list(jsonschema.Draft202012Validator(matrix_schema()).iter_errors(read_yaml(text).root))


def test_the_shipped_schema_is_the_generated_one() -> None:
    """The shipped schema is current: python -m harness.matrix.json_schema writes it."""
    shipped = Path(harness.__file__).with_name("matrix.schema.json").read_text(encoding="utf-8")
    assert schema_text() == shipped


def test_the_schema_is_a_schema() -> None:
    """The schema is valid under the draft that it names."""
    schema = matrix_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_schema_accepts_a_matrix_with_everything() -> None:
    """The schema accepts sizes, percentages, references, overrides, axes and empty blocks."""
    assert problems(MATRIX) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 1", "version: 2"),
        ("models:", "model:"),
        ("module:", "modul:"),
        ("search: {mode", "serach: {mode"),
        ("mode: exact", "mode: exakt"),
        ("max_trials: 3", "max_trials: 0"),
        ("seeds: [0, 1, 2]", "seeds: []"),
        ("141GB", "141 gigabytes"),
        ("2%", "2 percent"),
        ("deterministic: warn", "max_time: 3"),
        ("gpu: [h200, cpu-512MiB]", "gpu: h200"),
        ("[32-true]", "[a/b]"),
        ("h200-as-24GiB", "'h200 as 24'"),
        ("class_path: acme.Net,", "class_path: Net,"),
        ('"${resolution}", validation', '"$resolution", validation'),
    ],
)
def test_the_schema_rejects_a_slip(old: str, new: str) -> None:
    """The schema rejects misspelt keys and values that are not allowed."""
    assert old in MATRIX
    assert problems(MATRIX.replace(old, new)) != []


def properties(schema: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the definition, the name and the schema of every setting."""
    return [
        (name, field, value)
        for name, definition in [*schema["$defs"].items(), ("file", schema)]
        for field, value in definition.get("properties", {}).items()
    ]


def test_every_setting_is_described() -> None:
    """Every setting has a description, which editors show."""
    undocumented = [
        (name, field)
        for name, field, value in properties(matrix_schema())
        if "description" not in value
    ]
    assert undocumented == []


def test_the_schema_has_no_noise() -> None:
    """The schema has no generated titles and no defaults of null, which editors would show."""
    noisy = [
        field
        for _, field, value in properties(json.loads(schema_text()))
        if "title" in value or value.get("default", 0) is None
    ]
    assert noisy == []


def test_every_keyword_of_the_trainer_is_either_allowed_or_refused() -> None:
    """Every keyword of Lightning's Trainer is in one of the two tables."""
    keywords = set(inspect.signature(lightning.pytorch.Trainer).parameters)
    assert set() == keywords - set(TrainerSettings.model_fields) - set(REFUSED)


def test_no_keyword_is_both_allowed_and_refused() -> None:
    """No keyword of the Trainer is in both tables."""
    assert set() == set(TrainerSettings.model_fields) & set(REFUSED)
