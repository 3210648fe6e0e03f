"""Tracebacks of bounded size, whatever an exception holds."""

from __future__ import annotations

import itertools

import pytest

from harness.failures.explain import explain
from harness.failures.tracebacks import cut, traceback_of

BOUND = 80_000


def raised(function: object, *arguments: object) -> BaseException:
    """Return what a function raises."""
    assert callable(function)
    try:
        function(*arguments)
    except BaseException as error:  # noqa: BLE001 - tests raise anything
        return error
    raise AssertionError("it raised nothing")


def descend(depth: int) -> None:
    """Raise at a depth; two functions in turn, so that Python folds no lines."""
    if depth == 0:
        raise ValueError("bottom")
    ascend(depth - 1)


def ascend(depth: int) -> None:
    """Go on with the other function."""
    descend(depth)


def chain(length: int) -> None:
    """Raise an exception that comes from another one, and so on."""
    error = ValueError("link 0")
    for number in range(1, length):
        following = ValueError(f"link {number}")
        following.__cause__ = error
        error = following
    raise error


class UnprintableError(Exception):
    """An exception whose message is no message."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


@pytest.mark.parametrize("message", ["x" * 20_000_000, "x\n" * 2_000_000], ids=["line", "lines"])
def test_long_message_is_cut(message: str) -> None:
    """Of a message of megabytes, the beginning and the end are kept, with a line between them."""

    def fail() -> None:
        raise RuntimeError(f"begins {message} ends")

    failure = explain(raised(fail))
    text = failure["traceback"] or ""
    assert len(text) < BOUND
    assert "RuntimeError: begins x" in text
    assert "characters are left out here]" in text
    assert text.endswith(" ends\n")
    assert failure["detail"].startswith("RuntimeError: begins x")
    assert len(failure["detail"]) < 600


def test_deep_recursion_keeps_both_ends() -> None:
    """Of hundreds of frames, those of the call and those of the error are kept."""
    text = traceback_of(raised(descend, 400))
    assert len(text) < BOUND
    assert "in raised" in text
    assert text.endswith("ValueError: bottom\n")


def test_long_chain_ends_early() -> None:
    """An exception that was raised from thousands of others shows the last of them."""
    text = traceback_of(raised(chain, 5000))
    assert len(text) < BOUND
    assert "link 4999" in text


def test_exception_without_a_message_is_explained() -> None:
    """An exception whose `__str__` raises even KeyboardInterrupt has a detail and a traceback."""

    def fail() -> None:
        raise UnprintableError

    failure = explain(raised(fail))
    assert "UnprintableError: (its message raised KeyboardInterrupt)" == failure["detail"]
    assert "in fail" in (failure["traceback"] or "")


def test_short_text_stays_as_it_is() -> None:
    """Nothing is left out of a text that is short enough."""
    assert "one\ntwo\n" == cut(["one\n", "two\n"])


def test_cut_text_says_how_much_is_missing() -> None:
    """The line counts the characters that are not shown."""
    pieces = list(itertools.repeat("0123456789", 10_000))
    text = cut(pieces)
    shown = text.replace("\n[gpu-profile: 34,464 characters are left out here]\n", "")
    assert 100_000 - 34_464 == len(shown)
