"""Words that several folders use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.visible import one_line
from harness.wording import closest, describe_exit, nearest, shown_path

if TYPE_CHECKING:
    from pathlib import Path


def test_unknown_word_gets_the_known_one_that_is_like_it() -> None:
    """A slip is answered with what was meant."""
    assert "did you mean resnet18?" == nearest("resnet81", ["vit", "resnet18"], "models")


def test_unknown_word_that_is_like_none_gets_all_of_them() -> None:
    """Where nothing is like it, the choices are listed."""
    assert "models: vit, gpt2" == nearest("resnet18", ["vit", "gpt2"], "models")


def test_many_choices_are_cut() -> None:
    """Nobody reads thousands of them."""
    hint = nearest("x", [f"case{number}" for number in range(5000)], "cases")
    assert ("cases: case0, case1,", "case39, …") == (hint[:20], hint[-9:])


def test_no_choices_are_said_to_be_none() -> None:
    """An empty list has a sentence of its own."""
    assert "there are no models" == nearest("vit", [], "models")


@pytest.mark.parametrize(("cutoff", "found"), [(0.5, "exclude"), (0.95, None)])
def test_likeness_has_a_least_measure(cutoff: float, found: str | None) -> None:
    """A word counts as like another from the cutoff on."""
    assert found == closest("exclud", ["include", "exclude"], cutoff)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-9, "was killed by SIGKILL"),
        (-40, "was killed by signal 40"),
    ],
)
def test_end_of_a_process_is_described(code: int, words: str) -> None:
    """Exit codes are numbers, signals have names."""
    assert words == describe_exit(code)


def test_what_steers_a_terminal_is_escaped() -> None:
    """Line breaks and escape sequences of a quoted text are shown, not obeyed."""
    assert r"a\nb\x1b[2Jc é" == one_line("a\nb\x1b[2Jc é")


def test_path_below_the_working_directory_is_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path is shown as the user would type it; a link in it is not followed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert "link/gpu-profile.lock" == shown_path(tmp_path / "link" / "gpu-profile.lock")
    assert str(tmp_path.parent / "x") == shown_path(tmp_path.parent / "x")
