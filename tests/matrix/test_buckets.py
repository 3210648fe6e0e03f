"""Buckets of lengths in a matrix: the data at each edge, and what is no bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from matrix_texts import load, mistakes_in

from harness.identity.recipe import recipe

if TYPE_CHECKING:
    from pathlib import Path

MATRIX = """\
version: 1
matrix: {model: [net], gpu: [cpu], resolution: [64]}
models:
  net:
    module: {class_path: torch.nn.Linear, init_args: {width: "${resolution}"}}
    data: {class_path: torch.nn.Flatten, init_args: {length: "${resolution}", name: "to-${resolution}", words: 9}}
    buckets: {field: resolution, edges: [16, 32, 64]}
gpus:
  cpu: {accelerator: cpu, budget: 512MiB}
"""
BUCKETS = "buckets: {field: resolution, edges: [16, 32, 64]}"


def with_buckets(new: str) -> str:
    """Return the matrix with other buckets, or with more keys of the model."""
    return MATRIX.replace(BUCKETS, new)


def arguments(case: Any) -> dict[float, Any]:
    """Return the arguments of the data at each edge."""
    return {bucket["edge"]: bucket["data"]["init_args"] for bucket in case.buckets}


def test_an_edge_replaces_the_axis_in_the_data_alone(tmp_path: Path) -> None:
    """The module, and the case's own data, are those of the last edge."""
    (case,) = load(tmp_path, MATRIX)
    assert {
        16: {"length": 16, "name": "to-16", "words": 9},
        32: {"length": 32, "name": "to-32", "words": 9},
        64: {"length": 64, "name": "to-64", "words": 9},
    } == arguments(case)
    module = case.workload["module"]
    assert module is not None
    assert ({"width": 64}, case.buckets[-1]["data"]) == (module["init_args"], case.workload["data"])


def test_an_axis_of_words_is_the_last_edge_everywhere(tmp_path: Path) -> None:
    """A case of no one length has a label for it."""
    (case,) = load(tmp_path, MATRIX.replace("resolution: [64]", "resolution: [mixed]"))
    module = case.workload["module"]
    assert module is not None
    assert ({"width": 64}, "net-cpu-mixed") == (module["init_args"], case.id)


def test_an_edge_replaces_an_argument_that_follows_no_axis(tmp_path: Path) -> None:
    """`field` is then its name; a fraction may be an edge."""
    (case,) = load(tmp_path, with_buckets("buckets: {field: words, edges: [2.5, 9]}"))
    assert [(2.5, 2.5, 64), (9, 9, 64)] == [
        (edge, found["words"], found["length"]) for edge, found in arguments(case).items()
    ]
    assert case.bucket_arguments == ("data.init_args.words",)


def test_the_last_edge_may_refer_to_the_axis(tmp_path: Path) -> None:
    """So one model has buckets at several resolutions."""
    text = with_buckets('buckets: {field: resolution, edges: [16, "${resolution}"]}')
    cases = load(tmp_path, text.replace("resolution: [64]", "resolution: [32, 64]"))
    assert [[16, 32], [16, 64]] == [[one["edge"] for one in case.buckets] for case in cases]


def test_edges_are_part_of_the_recipe(tmp_path: Path) -> None:
    """Other edges are another recipe, and a case without buckets has none of them."""
    texts = [
        MATRIX,
        with_buckets("buckets: {field: resolution, edges: [32, 64]}"),
        with_buckets(""),
    ]
    first, second, without = [recipe(load(tmp_path, text)[0], {}) for text in texts]
    assert len({first.digest, second.digest, without.digest}) == 3
    assert {
        "buckets.edges": [16, 32, 64],
        "buckets.arguments": ["data.init_args.length", "data.init_args.name"],
    } == {name: value for name, value in first.settings.items() if "bucket" in name}
    assert not [name for name in without.settings if "bucket" in name]


@pytest.mark.parametrize(
    ("buckets", "message"),
    [
        (
            "buckets: {field: resolution, edges: [32, 16, 64]}",
            (
                "models.net.buckets.edges: 16 stands behind 32, and each edge is larger than the "
                "one before, such as [128, 256, 512]"
            ),
        ),
        (
            "buckets: {field: resolution, edges: [16, 32]}",
            (
                "models.net.buckets.edges: net-cpu-64: the last edge is 32, and resolution is 64 in"
                " this case: the longest samples are what the case is for, so let the last edge be "
                '64, or "${resolution}"'
            ),
        ),
        (
            "buckets: {field: side, edges: [16, 32]}",
            (
                "models.net.buckets.field: net-cpu-64: side is neither an axis nor an argument of "
                "data; those of data: length, name, words"
            ),
        ),
        (
            "buckets: {edges: [16, 64]}",
            "models.net.buckets: field is missing; the name of an axis, or of an argument of data",
        ),
        (
            BUCKETS + "\n    search: {global_batch_size: 64}",
            (
                "models.net.buckets: net-cpu-64: `search.global_batch_size` makes each step of as "
                "many samples, and the batches of buckets differ: set null for this model"
            ),
        ),
        (
            BUCKETS + "\n    search: {objective: throughput}",
            (
                "models.net.buckets: net-cpu-64: `search.objective: throughput` times the batch "
                "sizes of one length, and each bucket has its own: set memory for this model"
            ),
        ),
    ],
)
def test_what_is_no_bucket_is_a_mistake(tmp_path: Path, buckets: str, message: str) -> None:
    """The message says what is wrong, in which case, and what is allowed."""
    mistakes = mistakes_in(tmp_path, with_buckets(buckets))
    assert [message] == [mistake.partition(": ")[2] for mistake in mistakes[:1]]


def test_buckets_need_data(tmp_path: Path) -> None:
    """A module with loaders of its own has no argument to replace."""
    text = "\n".join(line for line in MATRIX.splitlines() if "data:" not in line)
    (mistake,) = mistakes_in(tmp_path, text)
    assert "an edge replaces an argument of `data`, and this model has none" in mistake


@pytest.mark.parametrize(
    "way", ["training: {class_path: torch.nn.Linear}", 'command: "python a.py ${batch_size}"']
)
def test_trainings_and_commands_have_no_buckets(tmp_path: Path, way: str) -> None:
    """Their data are their own."""
    model = MATRIX[MATRIX.index("    module:") : MATRIX.index("    buckets:")]
    (mistake, *_) = mistakes_in(tmp_path, MATRIX.replace(model, f"    {way}\n"))
    assert "replaces an argument of data, and" in mistake
