"""Mistakes in the axes, in include and in exclude are reported in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from matrix_texts import changed, mistakes_in

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            changed("[net]", "net"),
            '3: matrix.model: "net" is not allowed; a list of one value or more',
        ),
        (
            changed("[32, 64]", "[]"),
            "5: matrix.resolution: an empty list is not allowed; a list of one value or more",
        ),
        (
            changed("[32, 64]", "[32, null]"),
            "5: matrix.resolution[1]: null is not allowed; a string, a number, true or false",
        ),
        (
            changed("[32, 64]", "[32, .nan]"),
            "5: matrix.resolution[1]: nan is not allowed; a string, a number, true or false",
        ),
        (
            changed("[32, 64]", "[32, -1]"),
            (
                "5: matrix.resolution[1]: -1 is not a label;"
                " letters, digits, dots and underscores, with dashes between them"
            ),
        ),
        (
            changed("[32, 64]", "[32, a/b]"),
            (
                '5: matrix.resolution[1]: "a/b" is not a label;'
                " letters, digits, dots and underscores, with dashes between them"
            ),
        ),
        (changed("[cpu]", "[cpu, 200]"), '4: matrix.gpu[1]: 200 is not a string: write "200"'),
        (
            changed("[cpu]", "[cpu, h100]"),
            "4: matrix.gpu[1]: h100 is not defined below gpus; did you mean h200?",
        ),
        (
            changed("[32, 64]", "[32, '32']"),
            (
                '2: matrix: two cases have the id net-cpu-32: {model: "net", gpu: "cpu",'
                ' resolution: 32} and {model: "net", gpu: "cpu", resolution: "32"}'
            ),
        ),
        (
            changed("models:", "  exclude: [{resolution: 128}]\nmodels:"),
            (
                "6: matrix.exclude[0]: matches no combination: resolution has no 128;"
                " remove or correct it"
            ),
        ),
        (
            changed("[32, 64]", "[1, 64]").replace(
                "models:", "  exclude: [{model: net, resolution: true}]\nmodels:"
            ),
            (
                "6: matrix.exclude[0]: matches no combination: resolution has no true;"
                " remove or correct it"
            ),
        ),
        (
            changed("[32, 64]", "[]").replace("models:", "  exclude: [{model: net}]\nmodels:"),
            "5: matrix.resolution: an empty list is not allowed; a list of one value or more",
        ),
        (
            changed("models:", "  exclude: [{resolution: 32}, {model: net}]\nmodels:"),
            "2: matrix: has no cases: exclude leaves no combination",
        ),
        (
            changed("models:", "  exclude: [{colour: 16}]\nmodels:"),
            "6: matrix.exclude[0].colour: is not an axis; axes: model, gpu, resolution",
        ),
        (
            changed("models:", "  exclude: [{}]\nmodels:"),
            "6: matrix.exclude[0]: an empty mapping is not allowed; a mapping of axes to values",
        ),
        (
            changed("models:", "  exclude: {model: net}\nmodels:"),
            "6: matrix.exclude: a mapping is not allowed; a list of mappings of axes to values",
        ),
        (
            changed("models:", "  excludes: [{model: net}]\nmodels:"),
            "6: matrix.excludes: unknown key; did you mean exclude?",
        ),
        (
            changed("models:", "  exclude: [{resolution: [32]}]\nmodels:"),
            (
                "6: matrix.exclude[0].resolution: a list is not allowed;"
                " a string, a number, true or false"
            ),
        ),
        (
            changed("models:", "  include: [{model: net, resolution: 128}]\nmodels:"),
            "6: matrix.include[0]: the case net-128 has no gpu",
        ),
        (
            changed(
                "models:", "  include:\n    - {resolution: 32}\n    - {reslution: 32}\nmodels:"
            ),
            "8: matrix.include[1].reslution: is not an axis; did you mean resolution?",
        ),
        (
            changed("models:", "  include: [{model: nt, gpu: cpu, resolution: 1}]\nmodels:"),
            "6: matrix.include[0].model: nt is not defined below models; did you mean net?",
        ),
        (
            changed("models:", "  a b: [1]\nmodels:"),
            "6: matrix.a b: is not a name for an axis; letters, digits, dashes and underscores",
        ),
        (
            changed("models:", "  include: [{a b: 1}]\nmodels:"),
            (
                "6: matrix.include[0].a b: is not a name for an axis;"
                " letters, digits, dashes and underscores"
            ),
        ),
        (
            changed("models:", f"  x: [{'a' * 200}]\nmodels:").replace("[32, 64]", "[32]"),
            (
                f"2: matrix: the id net-cpu-32-{'a' * 200} is longer than 200 characters: shorten"
                " its labels"
            ),
        ),
        (
            changed("  model: [net]\n", "  modle: [net]\n"),
            "2: matrix: the axis model is missing; is modle a misspelling of it?",
        ),
    ],
)
def test_a_wrong_axis_is_answered_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    """One mistake in the axes, in include or in exclude gives one message."""
    assert [expected] == mistakes_in(tmp_path, text)


def test_the_number_of_cases_is_bounded(tmp_path: Path) -> None:
    """A matrix with too many combinations is refused."""
    axes = "".join(f"  x{n}: [{', '.join(map(str, range(1, 101)))}]\n" for n in range(5))
    assert mistakes_in(tmp_path, changed("models:", f"{axes}models:")) == [
        "2: matrix: the axes have more than 100,000 combinations"
    ]
