"""Text of others is shown, not obeyed."""

from __future__ import annotations

import pytest
from hostile_words import HOSTILE, assert_harmless
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError, WorkloadError
from harness.visible import cut, one_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("max batch 3712 é 図", "max batch 3712 é 図"),
        ("a\nb\x1b[2Jc", r"a\nb\x1b[2Jc"),
        ("a\x9bb\x85c\x7fd", r"a\x9bb\x85c\x7fd"),
        ("128\u202e821", r"128\u202e821"),
        ("a\u200bb\ufeffc\u2028d\U000e0041", r"a\u200bb\ufeffc\u2028d\U000e0041"),
        ("a\udc80b", r"a\udc80b"),
        ("::error::x", r"\u003a:error::x"),
        ("  ::error::x", r"  \u003a:error::x"),
        ("std::vector ::x", "std::vector ::x"),
        ("a ##[error]x", r"a #\u0023[error]x"),
        ("####vso[x", r"###\u0023vso[x"),
        ("## heading # [x]", "## heading # [x]"),
    ],
)
def test_what_is_obeyed_is_escaped(text: str, shown: str) -> None:
    """Escapes are those of Python and TOML; all else stays as it is."""
    assert shown == one_line(text)


def test_lines_and_tabs_of_a_longer_text_stay() -> None:
    """A traceback is still one: only its commands and escapes are disarmed."""
    assert "a\n    b\n\\u003a:error::\nc\\rd" == visible("a\r\n\tb\n::error::\nc\rd")


def test_beginning_of_a_long_text_is_shown() -> None:
    """A reviewer is not flooded by one value."""
    assert "x" * 400 + "… (100 more characters)" == cut("x" * 500)


@given(st.text())
def test_any_text_is_harmless(text: str) -> None:
    """No text gets through, and what is harmless is left alone."""
    assert_harmless(visible(text))
    assert_harmless(one_line(text))
    assert visible(text) == visible(visible(text))


@pytest.mark.parametrize("error", [HarnessError, WorkloadError])
def test_message_of_an_error_is_harmless(error: type[HarnessError]) -> None:
    """Whoever prints an error need not think of what a file has put into it."""
    assert_harmless(str(error(HOSTILE)))
