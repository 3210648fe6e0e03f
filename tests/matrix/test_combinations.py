"""include and exclude work as in GitHub Actions, and `${axis}` becomes the case's value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from matrix_texts import RIGHT, load

from harness.case_names import label
from harness.matrix.combinations import expand
from harness.matrix.references import substitute

if TYPE_CHECKING:
    from pathlib import Path

    from harness.matrix.case import Case
    from harness.protocol.case import ObjectSpec

FRUIT: dict[str, list[Any]] = {"fruit": ["apple", "pear"], "animal": ["cat", "dog"]}


def module_of(case: Case) -> ObjectSpec:
    """Return the module of a case that has one."""
    assert case.workload["module"] is not None
    return case.workload["module"]


def test_include_extends_and_adds_as_github_actions_does() -> None:
    """The example in GitHub's documentation gives the result that is written there."""
    include = [
        {"color": "green"},
        {"color": "pink", "animal": "cat"},
        {"fruit": "apple", "shape": "circle"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]
    assert expand(FRUIT, (), include).combinations == [
        {"fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle"},
        {"fruit": "apple", "animal": "dog", "color": "green", "shape": "circle"},
        {"fruit": "pear", "animal": "cat", "color": "pink"},
        {"fruit": "pear", "animal": "dog", "color": "green"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]


def test_a_partial_exclude_takes_all_that_agree_with_it() -> None:
    """An exclude entry with one axis removes every combination with that value."""
    assert expand(FRUIT, [{"fruit": "apple"}]).combinations == [
        {"fruit": "pear", "animal": "cat"},
        {"fruit": "pear", "animal": "dog"},
    ]


def test_include_comes_after_exclude_and_can_bring_back() -> None:
    """An include entry can add a combination that exclude removed."""
    expansion = expand(
        FRUIT, [{"fruit": "apple"}, {"animal": "dog"}], [{"fruit": "apple", "animal": "dog"}]
    )
    assert (
        expansion.combinations,
        expansion.added_by,
    ) == ([{"fruit": "pear", "animal": "cat"}, {"fruit": "apple", "animal": "dog"}], [None, 0])


def test_include_of_an_existing_combination_adds_nothing() -> None:
    """An include entry that equals a combination adds no second one."""
    assert len(expand(FRUIT, (), [{"fruit": "apple", "animal": "cat"}]).combinations) == 4


def test_include_alone_makes_a_matrix() -> None:
    """Without axes, every include entry is a combination of its own, as in GitHub Actions."""
    entries: list[dict[str, Any]] = [{"fruit": "apple"}, {"fruit": "apple", "color": "red"}]
    assert entries == expand({}, (), entries).combinations


def test_excludes_that_match_nothing_are_reported() -> None:
    """The indices of idle exclude entries are returned; true is not 1, but 1 is 1.0."""
    axes: dict[str, list[Any]] = {"a": [1, 2], "b": [True]}
    assert expand(axes, [{"a": 3}, {"a": 1.0}, {"b": 1}]).idle_excludes == [0, 2]


def test_an_axis_that_include_brings_in_extends_the_id(tmp_path: Path) -> None:
    """An axis that only include has extends the ids of the cases that it extends."""
    text = RIGHT.replace(
        "models:", "  include:\n    - {resolution: 32, precision: bf16-mixed}\nmodels:"
    )
    assert [case.id for case in load(tmp_path, text)] == ["net-cpu-32-bf16-mixed", "net-cpu-64"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("${resolution}", 32),
        ("${ resolution }", 32),
        ("${flag}", True),
        ("${share}", 0.5),
        ("${model}", "net"),
        ("r${resolution}-${flag}", "r32-true"),
        ("${resolution}${resolution}", "3232"),
        ("$${resolution}", "${resolution}"),
        ("$$${resolution}", "$${resolution}"),
        ("$5 {x}", "$5 {x}"),
        (["${resolution}", {"a": "${model}"}], [32, {"a": "net"}]),
        (7, 7),
        (None, None),
    ],
)
def test_references_become_the_values_of_the_case(written: Any, expected: Any) -> None:
    """A whole scalar keeps the value's type; in a text it is formatted; `$${` is a plain `${`."""
    axes: dict[str, Any] = {"model": "net", "resolution": 32, "flag": True, "share": 0.5}
    actual = substitute(written, axes)
    assert (type(expected), expected) == (type(actual), actual)


def test_references_work_below_every_block(tmp_path: Path) -> None:
    """References work below models, gpus, trainer, search, lr_range and bounds."""
    text = (
        RIGHT.replace("Linear}", 'Linear, init_args: {a: "${steps}"}}')
        .replace("resolution: [32, 64]", "resolution: [32]\n  steps: [3]")
        .replace("512MiB}", '"${steps}GiB"}')
    )
    text += 'trainer: {accumulate_grad_batches: "${steps}"}\nsearch: {round_to: "${steps}"}\n'
    text += 'lr_range: {seeds: ["${steps}"]}\nbounds: {batch_size: {max_drop: "${steps}%"}}\n'
    (case,) = load(tmp_path, text)
    assert (
        module_of(case)["init_args"],
        case.device.budget,
        case.trainer,
        case.search.round_to,
        case.lr_range.seeds,
        case.bounds.batch_size.max_drop,
    ) == ({"a": 3}, 3 * 2**30, {"accumulate_grad_batches": 3}, 3, (3,), 0.03)


def test_values_that_are_equal_to_python_stay_apart(tmp_path: Path) -> None:
    """Cases with true and with 1 do not share settings that refer to that axis."""
    text = RIGHT.replace("[32, 64]", "[1, true, 1.0]").replace(
        "Linear}", 'Linear, init_args: {a: "${resolution}"}}'
    )
    text = text.replace("[1, true, 1.0]", "[1, true]")
    values = [module_of(case)["init_args"]["a"] for case in load(tmp_path, text)]
    assert [repr(value) for value in values] == ["1", "True"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a.b_C-1", "a.b_C-1"),
        (32, "32"),
        (0.5, "0.5"),
        (1e-6, "1e-06"),
        (1e20, "1e20"),
        (True, "true"),
        (False, "false"),
    ],
)
def test_values_that_are_no_strings_have_a_readable_label(value: Any, expected: str) -> None:
    """Labels of booleans and floats are fit for test ids and file names."""
    assert expected == label(value)
