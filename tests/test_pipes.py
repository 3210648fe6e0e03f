"""Lines out of a pipe, and pipes that are held beside code of the user's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from harness.pipes import ClosedPipeError, KeptPipe, LineBuffer, keep

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Make a pipe: the reading and the writing end."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_lines_come_whole_from_any_chunks() -> None:
    """A line that comes in pieces is returned once it ends; several may come at once."""
    lines = LineBuffer(100)
    assert [[], [b"one", b""], [], [b"two three"]] == [
        lines.feed(chunk) for chunk in (b"o", b"ne\n\ntwo", b" thr", b"ee\nfour")
    ]


def test_line_that_is_too_long_is_cut() -> None:
    """The rest of such a line is dropped, and the next one is whole."""
    lines = LineBuffer(4)
    assert [[], [], [b"0123", b"next"]] == [
        lines.feed(chunk) for chunk in (b"012", b"345" * 1000, b"6\nnext\n")
    ]


def test_message_is_a_line_of_json(pipe: tuple[int, int]) -> None:
    """The other end reads a line."""
    KeptPipe(pipe[1]).send({"event": "idle"})
    assert b'{"event": "idle"}\n' == os.read(pipe[0], 100)


def test_descriptor_that_became_a_file_is_not_written_to(pipe: tuple[int, int]) -> None:
    """The user's code may close the pipe and open a file, which gets the same number."""
    kept = KeptPipe(pipe[1])
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, pipe[1])
    os.close(null)
    with pytest.raises(ClosedPipeError, match="has closed descriptors that it had not opened"):
        kept.send({})


def test_kept_descriptor_is_out_of_the_way(pipe: tuple[int, int]) -> None:
    """Code that closes descriptors one by one begins with the low ones."""
    kept = keep(pipe[1])
    try:
        assert kept > 900
        os.write(kept, b"x")
        assert b"x" == os.read(pipe[0], 1)
    finally:
        os.close(kept)
