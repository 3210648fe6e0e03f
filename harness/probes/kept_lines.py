"""The lines of a file of kept answers: how they are written, and how they are checked.

Anybody may have put the file there: an answer is checked as if a probe had sent it, and what is
implausible counts as not there.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.bounded_file import UnreadableFileError, read_bounded
from harness.probes.answers import Answer
from harness.probes.messages import ProtocolError, read_report

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_LINE_BYTES = 4 << 20
"""The history of a large network has some 100 kB, and the curve of the longest sweep less."""
MAX_AGE_SECONDS = 7 * 86_400
"""What is older is measured anew: much that no key knows may have changed."""
LOG = re.compile(r"\d{3,6}-[\w.+-]{1,100}\.log")
"""The names of the logs of probes."""

# A probe that failed otherwise may have met trouble of the machine, so it runs again.
_REUSED = ("fits", "oom", "dataset")
# Files that a probe writes beside its answer, and that are not kept.
_FILES = ("snapshot", "file")
# Clocks of two machines differ.
_CLOCK_SECONDS = 3_600.0


@dataclass(frozen=True)
class KeptAnswer:
    """An answer, with what belongs to it."""

    answer: Answer[Any]
    at: float
    """When the probe ended, in seconds since 1970."""
    run: str
    """The id of its run."""
    history: dict[str, Any] | None
    """What the probe has recorded of its allocations."""


def can_be_kept(request: Mapping[str, Any]) -> bool:
    """Return whether the answer to a request is all that its probe leaves, beside a history.

    What a strategy of the user's reads is not kept: its code may lie apart from the workload's.
    """
    return request["task"] != "lr_strategy" and not any(request.get(name) for name in _FILES)


def key_of(request: Mapping[str, Any]) -> str:
    """Return a digest of a request: the names of files in it are others in the next run."""
    asked = {name: value for name, value in request.items() if name not in _FILES}
    asked["history"] = request.get("history") is not None
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def line_of(request: Mapping[str, Any], answer: Answer[Any], run: str) -> bytes | None:
    """Return the line that keeps an answer; None where it must not be kept, or is too large."""
    result = answer.result
    if not can_be_kept(request) or result is None or answer.timed_out:
        return None
    if result["outcome"] not in _REUSED:
        return None
    try:
        history = _read_history(request.get("history"))
    except (UnreadableFileError, ValueError):
        return None
    kept = {
        "request": key_of(request),
        "at": time.time(),
        "run": run,
        "phase": answer.phase,
        "result": result,
        "seconds": answer.seconds,
        "log": Path(answer.log).name,
        "history": history,
    }
    line = json.dumps(kept).encode() + b"\n"
    return line if len(line) <= MAX_LINE_BYTES else None


def request_of(line: bytes) -> tuple[str, str] | None:
    """Return the key and the log of a line that may be used; None where it may not."""
    kept = _loaded(line)
    if kept is None or not _is_recent(kept.get("at")):
        return None
    key, log = kept.get("request"), kept.get("log")
    if not (isinstance(key, str) and isinstance(log, str) and LOG.fullmatch(log)):
        return None
    return key, log


def read_line(line: bytes, task: str, directory: Path) -> KeptAnswer | None:
    """Return the answer of a line that `request_of` lets pass; None where it is implausible.

    directory: the folder of its log.
    """
    kept = _loaded(line)
    if kept is None:
        return None
    told = {"result": kept.get("result")}
    if kept.get("phase") is not None:
        told["phase"] = kept["phase"]
    seconds: Any = kept.get("seconds")
    run, history = kept.get("run"), kept.get("history")
    try:
        report = read_report(told, None, task)
    except ProtocolError:
        return None
    result: Any = report["result"]
    if result["outcome"] not in _REUSED or not _is_duration(seconds) or not isinstance(run, str):
        return None
    if history is not None and not is_history(history):
        return None
    log = str(directory.absolute() / kept["log"])
    answer: Answer[Any] = Answer(result, None, report.get("phase"), log, seconds)
    return KeptAnswer(answer, kept["at"], run, history)


def is_history(value: Any) -> bool:
    """Return whether a value is a history of blocks whose events are indices of its sizes."""
    if not isinstance(value, dict) or {*value} != {"sizes", "events", "first_step"}:
        return False
    sizes, events, first = value["sizes"], value["events"], value["first_step"]
    if not (isinstance(sizes, list) and isinstance(events, list) and type(first) is int):
        return False
    number = len(sizes)
    return (
        all(type(size) is int and 0 <= size < 1 << 62 for size in sizes)
        and all(type(event) is int and -number <= event < number for event in events)
        and 0 < first <= len(events)
    )


def _loaded(line: bytes) -> dict[str, Any] | None:
    if len(line) > MAX_LINE_BYTES:
        return None
    try:
        kept = json.loads(line)
    except (ValueError, RecursionError):
        return None  # such as the last line of a process that was killed
    return kept if isinstance(kept, dict) else None


def _read_history(path: str | None) -> Any:
    """Return what a probe has written; None where it has written nothing."""
    data = None if path is None else read_bounded(Path(path), MAX_LINE_BYTES)
    return None if data is None else json.loads(data)


def _is_recent(at: Any) -> bool:
    if type(at) is not float or not math.isfinite(at):
        return False
    return -_CLOCK_SECONDS <= time.time() - at <= MAX_AGE_SECONDS


def _is_duration(seconds: Any) -> bool:
    return type(seconds) is float and 0 <= seconds < MAX_AGE_SECONDS
