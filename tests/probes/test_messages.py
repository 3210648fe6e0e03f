"""What comes out of the pipes of a zygote is checked before it is believed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.probes.messages import ProtocolError, read_event, read_report

RESULT: dict[str, Any] = {
    "outcome": "fits",
    "detail": None,
    "traceback": None,
    "batch_size": 4,
    "peak_memory_bytes": 1000,
    "memory_limit_bytes": 2000,
    "samples": 8,
    "steps": 2,
    "samples_per_second": 2.5,
    "growing": False,
    "growth": None,
    "above_limit": False,
    "finite_loss": True,
    "notes": [],
    "values_read": None,
    "rank": None,
}


def line(**message: Any) -> bytes:
    """Return a message as it comes."""
    return json.dumps(message).encode()


def test_right_messages_are_believed() -> None:
    """An event and a result are returned as they came."""
    started = read_event(line(event="started", pid=7), ["started", "ended"])
    assert {"event": "started", "pid": 7} == started
    report = {"phase": "forward", "result": RESULT}
    assert report == read_report(report, None, "train")


@pytest.mark.parametrize(
    ("came", "words"),
    [
        (b"garbage", "sent `garbage`, where its protocol has ended, started: the workload writes"),
        (b"[1,2]", "sent `[1,2]`, where"),
        (b"5", "sent `5`, where"),
        (b"null", "sent `null`, where"),
        (b'{"event": ["started"]}', "where its protocol has"),
        (b"\xff\x00\x1b[2J", "sent `�\\x00\\x1b[2J`, where"),
        (b"[" * 100_000, "…`, where its protocol has"),
        (b"1" * 10_000, "…`, where its protocol has"),
        (line(event="surprise"), 'sent `{"event": "surprise"}`, where'),
        (line(event="idle"), 'sent `{"event": "idle"}`, where its protocol has ended, started'),
        (line(event="started"), "sent a wrong `started` (started.pid: Field required"),
        (line(event="started", pid="7"), "started.pid: Input should be a valid integer, not '7'"),
        (line(event="started", pid=True), "started.pid: Input should be a valid integer, not True"),
    ],
)
def test_wrong_messages_are_named(came: bytes, words: str) -> None:
    """The error says what came, shortened and without control characters."""
    with pytest.raises(ProtocolError) as caught:
        read_event(came, ["started", "ended"])
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"peak_memory_bytes": "evil"}, "peak_memory_bytes: Input should be a valid integer, not"),
        ({"peak_memory_bytes": -1}, "peak_memory_bytes: Input should be greater than or equal"),
        ({"peak_memory_bytes": 1 << 70}, "peak_memory_bytes: Input should be less than"),
        ({"peak_memory_bytes": 1.5}, "peak_memory_bytes: Input should be a valid integer"),
        ({"samples_per_second": float("nan")}, "samples_per_second: Input should be a finite num"),
        ({"samples_per_second": float("inf")}, "samples_per_second: Input should be a finite num"),
        ({"outcome": "splendid"}, "Input should be 'fits'"),
        ({"notes": "one"}, "notes: Input should be a valid list, not 'one'"),
        ({"detail": {"a": "\x1b[2J"}}, "detail: Input should be a valid string, not {'a': '\\x1b"),
    ],
)
def test_wrong_results_are_named(changed: dict[str, Any], words: str) -> None:
    """A field of another type, without bounds or not finite is named, with what it was."""
    with pytest.raises(ProtocolError) as caught:
        read_report({"result": RESULT | changed}, None, "train")
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400


def test_missing_and_foreign_results_are_refused() -> None:
    """A result has all fields of its task, and none of another task will do."""
    with pytest.raises(ProtocolError, match="Field required"):
        read_report({"result": {"outcome": "fits"}}, None, "train")
    with pytest.raises(ProtocolError, match="reported a wrong result"):
        read_report({"result": RESULT}, None, "lr_range")


def test_phase_that_is_none_is_refused() -> None:
    """A phase is one of the protocol's words."""
    with pytest.raises(ProtocolError, match="phase: Input should be 'setup'"):
        read_report({"phase": "\x1b[31m"}, None, "train")


def test_line_that_is_no_report_is_named() -> None:
    """The supervisor passes the beginning of such a line on."""
    with pytest.raises(ProtocolError, match=r"reported `5\\n\\x1b`, which is no report"):
        read_report({}, "5\n\x1b", "train")


def test_names_that_are_no_unicode_are_escaped() -> None:
    """Lone surrogates, as names of files have them, cannot be written to a report."""
    failed = {"event": "failed", "outcome": "error", "detail": "no \udcff", "traceback": None}
    event = read_event(json.dumps(failed).encode(), ["failed"])
    assert event["event"] == "failed"
    assert "no \\udcff" == event["detail"]


def test_texts_of_a_failure_are_cut() -> None:
    """The probe's side has cut them, unless they are forged."""
    changed = {"outcome": "error", "detail": "d" * 10_000_000, "traceback": "t\n" * 10_000_000}
    told = read_report({"result": RESULT | changed}, None, "train")["result"]
    assert told["outcome"] == "error"
    assert len(told["detail"] or "") == 2000
    assert len(told["traceback"] or "") < 80_000


def test_losses_that_diverge_are_a_result() -> None:
    """A sweep may end with a loss that is not finite."""
    result = {"outcome": "fits", "refusal": None, "raised": None, "learning_rates": [1, 2.0]}
    told = read_report({"result": result | {"losses": [1.0, float("nan")]}}, None, "lr_range")
    assert [1, 2.0] == told["result"]["learning_rates"]  # type: ignore[typeddict-item] # a sweep's
