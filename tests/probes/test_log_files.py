"""Logs of bounded size."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from harness.probes.log_files import HEAD_BYTES, TAIL_BYTES, BoundedLog, last_words


def test_short_output_is_kept_whole(tmp_path: Path) -> None:
    """It is in the file before the log is closed."""
    path = tmp_path / "log"
    log = BoundedLog(path)
    log.write(b"one \xff\n")
    assert b"one \xff\n" == path.read_bytes()
    log.close()
    assert b"one \xff\n" == path.read_bytes()


def test_output_of_the_bound_is_kept_whole(tmp_path: Path) -> None:
    """Nothing is left out up to the bound, and no line claims it."""
    path = tmp_path / "log"
    log = BoundedLog(path)
    output = b"h" * HEAD_BYTES + b"t" * TAIL_BYTES
    for begin in range(0, len(output), 60_000):
        log.write(output[begin : begin + 60_000])
    log.close()
    assert output == path.read_bytes()


def test_much_output_keeps_both_ends(tmp_path: Path) -> None:
    """A line says how much is missing between them."""
    path = tmp_path / "log"
    log = BoundedLog(path)
    for number in range(10 << 6):
        log.write(b"%07d\n" % number * (1 << 11))  # 16 KiB
    log.close()
    text = path.read_bytes()
    assert text.startswith(b"0000000\n")
    assert text.endswith(b"0000639\n")
    assert b"\n[gpu-profile: 8.0 MiB of output are left out here]\n" in text
    assert len(text) < HEAD_BYTES + TAIL_BYTES + 100


def test_link_is_not_followed(tmp_path: Path) -> None:
    """A link with the log's name is replaced, and its target stays as it was."""
    target = tmp_path / "target"
    target.write_text("precious", encoding="utf-8")
    (tmp_path / "log").symlink_to(target)
    log = BoundedLog(tmp_path / "log")
    log.write(b"words")
    log.close()
    assert ("precious", "words") == (
        target.read_text(encoding="utf-8"),
        (tmp_path / "log").read_text(encoding="utf-8"),
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_full_disk_is_noted_and_ends_nothing(tmp_path: Path) -> None:
    """Later output is dropped."""
    log = BoundedLog(tmp_path / "log")
    log._file.close()
    log._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 - the log closes it
    log.write(b"words")
    log.write(b"more")
    log.close()
    assert log.error is not None
    assert errno.ENOSPC == log.error.errno


def test_last_words_are_read_from_the_end(tmp_path: Path) -> None:
    """Of a log of any size a few kilobytes are read, whatever their encoding."""
    path = tmp_path / "log"
    path.write_bytes(b"x" * 1_000_000 + b" last \xff words")
    assert 10_000 == len(last_words(path))
    assert last_words(path).endswith(" last \ufffd words")
    assert not last_words(tmp_path / "none")
