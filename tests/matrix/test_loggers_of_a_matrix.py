"""Loggers of a matrix: `${case}`, their packages, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from matrix_texts import RIGHT, load, mistakes_in

from harness.identity.recipe import recipe

if TYPE_CHECKING:
    from pathlib import Path

LINES = RIGHT.count("\n")


def with_loggers(text: str) -> str:
    """Return the right matrix with loggers."""
    return f"{RIGHT}loggers:\n{text}"


def test_case_and_axes_are_replaced(tmp_path: Path) -> None:
    """`${case}` is the case's id, beside the axes; a logger without arguments has none."""
    text = with_loggers(
        "  - class_path: torch.nn.Linear\n"
        '    init_args: {version: "${case}", tags: ["${resolution}", "at ${resolution} px"]}\n'
        "  - class_path: torch.nn.Identity\n"
    )
    assert [
        (
            {
                "class_path": "torch.nn.Linear",
                "init_args": {"version": f"net-cpu-{size}", "tags": [size, f"at {size} px"]},
            },
            {"class_path": "torch.nn.Identity", "init_args": {}},
        )
        for size in (32, 64)
    ] == [case.loggers for case in load(tmp_path, text)]


def test_package_of_a_logger_need_not_be_installed(tmp_path: Path) -> None:
    """Not every machine logs; the run warns."""
    case, _ = load(tmp_path, with_loggers("  - {class_path: no_such_package.Logger}\n"))
    assert "no_such_package.Logger" == case.loggers[0]["class_path"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "  - {class_path: lightning.pytorch.loggers.TensorBordLogger}\n",
            (
                f"{LINES + 2}: loggers[0].class_path: cannot be imported: lightning.pytorch.loggers has"
                " no TensorBordLogger; did you mean TensorBoardLogger?"
            ),
        ),
        (
            '  - {class_path: torch.nn.Linear, init_args: {name: "${cases}"}}\n',
            f"{LINES + 2}: loggers[0].init_args.name: ${{cases}}: no such axis; did you mean",
        ),
        ("  - torch.nn.Linear\n", f"{LINES + 2}: loggers[0]: "),
        ("  torch.nn.Linear\n", f"{LINES + 1}: loggers: "),
        ("  - {class_path: torch.nn.Linear, args: {}}\n", f"{LINES + 2}: loggers[0].args: "),
    ],
    ids=["misspelt-class", "misspelt-case", "no-mapping", "no-list", "unknown-key"],
)
def test_mistakes_name_their_lines(tmp_path: Path, text: str, expected: str) -> None:
    """A logger that cannot be meant is found before anything runs."""
    found = mistakes_in(tmp_path, with_loggers(text))
    assert any(mistake.startswith(expected) for mistake in found), found


def test_case_is_for_loggers_alone(tmp_path: Path) -> None:
    """A workload that depended on a name would make locks stale when axes are added."""
    text = RIGHT.replace("class_path: torch.nn.Linear", "class_path: '${case}'")
    assert any("${case}: no such axis" in mistake for mistake in mistakes_in(tmp_path, text))


def test_loggers_are_no_part_of_the_recipe(tmp_path: Path) -> None:
    """Who adds one need not measure anew."""
    case, _ = load(tmp_path, with_loggers("  - {class_path: torch.nn.Linear}\n"))
    assert recipe(replace(case, loggers=()), {}) == recipe(case, {})
