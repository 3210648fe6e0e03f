"""The strategies and stages that a matrix may name, and mistakes in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from matrix_texts import RIGHT, load, mistakes_in

from harness.matrix.callables import CallableSpec

if TYPE_CHECKING:
    from pathlib import Path

ALLOWED = (
    "one of drop, valley, slide, minimum, steepest, or the class_path (and init_args) of a "
    "function of yours, or a list of these, of which the first decides"
)
OWN = CallableSpec(class_path="json.loads", init_args={"share": 0.5})


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("strategy: valley", ("valley",)),
        ("strategy: [slide, drop]", ("slide", "drop")),
        ("strategy: {class_path: json.loads, init_args: {share: 0.5}}", (OWN,)),
        ("strategy: [drop, {class_path: json.loads, init_args: {share: 0.5}}]", ("drop", OWN)),
        ("stages: 2", ("drop",)),
    ],
)
def test_strategies_are_a_name_a_callable_or_a_list(
    tmp_path: Path, written: str, expected: tuple[object, ...]
) -> None:
    """The settings hold them in their order."""
    case, _ = load(tmp_path, RIGHT + f"lr_range: {{{written}}}")
    assert expected == case.lr_range.strategy


def test_model_replaces_the_strategies_of_the_top(tmp_path: Path) -> None:
    """A list is replaced as a whole, and so is a mapping by a name."""
    text = RIGHT + "lr_range: {strategy: {class_path: json.loads}}"
    text = text.replace(
        "models:\n  net:\n", "models:\n  net:\n    lr_range: {strategy: steepest}\n"
    )
    case, _ = load(tmp_path, text)
    assert ("steepest",) == case.lr_range.strategy


def test_strategy_may_be_an_axis(tmp_path: Path) -> None:
    """Cases of one model then compare strategies."""
    text = RIGHT.replace("resolution: [32, 64]", "resolution: [32]\n  rule: [valley, slide]")
    cases = load(tmp_path, text + 'lr_range: {strategy: "${rule}"}')
    assert [("valley",), ("slide",)] == [case.lr_range.strategy for case in cases]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("strategy: vally", f'strategy: "vally" is not allowed; {ALLOWED}'),
        ("strategy: [drop, vally]", f'strategy: "vally" is not allowed; {ALLOWED}'),
        ("strategy: 3", f"strategy: 3 is not allowed; {ALLOWED}"),
        ("strategy: null", f"strategy: null is not allowed; {ALLOWED}"),
        ("strategy: []", f"strategy: an empty list is not allowed; {ALLOWED}"),
        ("strategy: [drop, drop]", f"strategy: drop stands there twice; {ALLOWED}"),
        (
            "strategy: {init_args: {x: 1}}",
            f"strategy: a mapping without class_path is not allowed; {ALLOWED}",
        ),
        (
            "strategy: [drop, {class_path: nowhere_at_all.rule}]",
            (
                "strategy[1].class_path: cannot be imported: there is no module nowhere_at_all "
                "(pytest's ini key pythonpath adds folders to the module path)"
            ),
        ),
        (
            "strategy: {class_path: json.loads, init_arg: {}}",
            "strategy.init_arg: unknown key; did you mean init_args?",
        ),
        ("stages: 4", "stages: 4 is not allowed; one of 1, 2, 3"),
        ("stages: true", "stages: true is not allowed; one of 1, 2, 3"),
        ("stages: 1.0", "stages: 1.0 is not allowed; one of 1, 2, 3"),
    ],
)
def test_mistakes_say_what_is_allowed(tmp_path: Path, written: str, message: str) -> None:
    """The message names the setting, its value and what there is."""
    assert [f"12: lr_range.{message}"] == mistakes_in(tmp_path, RIGHT + f"lr_range: {{{written}}}")


@pytest.mark.parametrize(
    ("written", "sweeps", "steps"),
    [
        ("", 0, 600),
        ("stages: 2", 0, 600),
        ("stages: 1", 1, 200),
        ("strategy: [drop, valley]", 1, 800),
        ("strategy: valley", 3, 1200),
        ("strategy: valley, stages: 2", 1, 800),
        ("strategy: [valley, drop], stages: 1", 1, 200),
    ],
)
def test_most_steps_follow_from_strategies_and_stages(
    tmp_path: Path, written: str, sweeps: int, steps: int
) -> None:
    """Whole sweeps take num_training steps each, and trials at most those of all seeds."""
    case, _ = load(tmp_path, RIGHT + f"lr_range: {{{written}}}")
    assert (sweeps, steps) == (case.lr_range.sweeps, case.lr_range.max_steps)
