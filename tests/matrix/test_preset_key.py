"""The key `preset` of a matrix: a layer of settings below all explicit keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from matrix_texts import RIGHT, load, mistakes_in

from harness.matrix.cases import load_matrix
from harness.matrix.presets import parse_preset

if TYPE_CHECKING:
    from pathlib import Path

    from harness.matrix.presets import Preset, PresetChoice


def test_preset_sets_what_the_matrix_leaves_open(tmp_path: Path) -> None:
    """Its settings stand where no key of the matrix does."""
    case = load(tmp_path, RIGHT + "preset: thorough\n")[0]
    assert ("thorough", 100, (0, 1, 2, 3, 4)) == (
        case.preset,
        case.search.soak_steps,
        case.lr_range.seeds,
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("models:\n", "lr_range: {when: always}\nmodels:\n"),
        (
            "{class_path: torch.nn.Linear}\n",
            "{class_path: torch.nn.Linear}\n    lr_range: {when: always}\n",
        ),
        ("budget: 512MiB}", "budget: 512MiB, lr_range: {when: always}}"),
    ],
    ids=["top", "model", "gpu"],
)
def test_explicit_key_wins_wherever_it_stands(tmp_path: Path, old: str, new: str) -> None:
    """The top of the file, a model and a GPU override a preset."""
    assert old in RIGHT
    case = load(tmp_path, "preset: quick\n" + RIGHT.replace(old, new))[0]
    assert "always" == case.lr_range.when


@pytest.mark.parametrize(
    ("choice", "expected"), [(None, "quick"), ("thorough", "thorough"), ("none", None)]
)
def test_choice_of_a_run_wins_over_the_key(
    tmp_path: Path, choice: PresetChoice | None, expected: Preset | None
) -> None:
    """A flag replaces the matrix's preset, and `none` leaves it out."""
    path = tmp_path / "matrix.yaml"
    path.write_text(RIGHT + "preset: quick\n", encoding="utf-8")
    (case, _) = load_matrix(path, preset=choice)
    assert (expected, "changed" if expected == "quick" else "always") == (
        case.preset,
        case.lr_range.when,
    )


def test_case_without_its_preset_is_that_of_a_matrix_without_one(tmp_path: Path) -> None:
    """What the matrix states is kept beside what the preset sets."""
    plain = load(tmp_path, RIGHT)
    under = load(tmp_path, RIGHT + "preset: thorough\n")
    assert list(plain) == [case.without_preset for case in under]


@pytest.mark.parametrize("word", ["fast", "[quick]", "1", '"${resolution}"', "none"])
def test_unknown_preset_is_refused_at_its_line(tmp_path: Path, word: str) -> None:
    """The message names the allowed ones."""
    (found,) = mistakes_in(tmp_path, f"{RIGHT}preset: {word}\n")
    assert found.startswith("12: preset: ")
    assert found.endswith(" is not allowed; one of quick, thorough, production")


def test_flag_of_an_unknown_preset_names_the_allowed_ones() -> None:
    """So does the flag, with the nearest one."""
    expected = (
        "'produktion' is no preset; allowed: quick, thorough, production, none; did you mean "
        "production?"
    )
    with pytest.raises(ValueError, match=expected.replace("?", r"\?")):
        parse_preset("produktion")
