"""Keeps the answers of a case's probes, so that an interrupted run goes on from them.

The file is in the case's folder. Its first line tells for what the answers hold, and each answer is
a line that is on the disk before the next probe starts. The next run asks for the same probes in
the same order: those that the file answers do not run again. Each answer is given once, because
some probes are repeated on purpose.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from harness.bounded_file import UnreadableFileError, read_bounded
from harness.files import replacing
from harness.probes.kept_lines import LOG, can_be_kept, key_of, line_of, read_line, request_of
from harness.units import format_seconds
from harness.wording import shown_path

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from harness.probes.answers import Answer

_log = logging.getLogger("harness")

NAME = "answers.jsonl"
MAX_BYTES = 32 << 20
"""Answers beyond that are not kept, so their probes run again."""

_FORMAT = 1
_MAX_HEADER_BYTES = 1 << 16


@dataclass
class Reused:
    """What a run has taken from the runs before it."""

    probes: int = 0
    lr_steps: int = 0
    seconds: float = 0.0
    """What all of these probes took, and those that only read something."""
    since: float = math.inf
    """When the first of them ended."""


class KeptAnswers:
    """The answers of a case's probes: those of a run that did not finish, and this run's.

    Args:
        path: the file. It is made anew where its answers do not hold.
        valid_for: what the answers depend on, by name.
        run: the id of this run.

    """

    def __init__(self, path: Path, valid_for: Mapping[str, str], run: str) -> None:
        self.reused = Reused()
        self.changed: tuple[str, ...] = ()
        """What the answers of an earlier run depend on, and what is not as it was then."""
        self._path = path
        self._run = run
        self._waiting: dict[str, deque[bytes]] = {}
        self.logs: set[str] = set()
        """The names of the logs to which answers of an earlier run refer."""
        self._file: BinaryIO | None = None
        header = {"format": _FORMAT, "run": run, "valid_for": dict(valid_for)}
        lines = [json.dumps(header).encode() + b"\n", *self._usable_lines(valid_for)]
        self._size = sum(map(len, lines))
        with self._if_the_disk_allows():
            with replacing(path) as temporary:
                temporary.write_bytes(b"".join(lines))
            self._file = path.open("ab")

    def __len__(self) -> int:
        """Return the number of answers that are there for requests to come."""
        return sum(map(len, self._waiting.values()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file; it stays."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def take(self, request: Mapping[str, Any], directory: Path) -> Answer[Any] | None:
        """Return the answer of an earlier run to a request; None where there is none.

        The history that the request asks for is written.

        directory: the folder of the logs.
        """
        if not can_be_kept(request):
            return None
        waiting = self._waiting.get(key_of(request))
        while waiting:
            kept = read_line(waiting.popleft(), request["task"], directory)
            if kept is None:
                continue
            if request.get("history") is not None and kept.history is not None:
                Path(request["history"]).write_text(json.dumps(kept.history), encoding="utf-8")
            if kept.run != self._run:
                self._count(request["task"], kept.answer, kept.at)
            return kept.answer
        return None

    def keep(self, request: Mapping[str, Any], answer: Answer[Any]) -> None:
        """Write an answer; not one of a probe that may have met trouble of the machine."""
        line = line_of(request, answer, self._run)
        if self._file is None or line is None or self._size + len(line) > MAX_BYTES:
            return
        with self._if_the_disk_allows():
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._size += len(line)

    def note(self) -> str | None:
        """Return what readers of the measurement should know; None if all of it is this run's."""
        reused = self.reused
        if not reused.probes and not reused.lr_steps:
            return None
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(reused.since))
        return (
            f"resumed: {_counted(reused.probes, 'probe')} and "
            f"{_counted(reused.lr_steps, 'LR step')} are from the run of {when}, which did not "
            f"finish; they took {format_seconds(reused.seconds)}, beyond the seconds of this run"
        )

    def _usable_lines(self, valid_for: Mapping[str, str]) -> list[bytes]:
        try:
            data = read_bounded(self._path, MAX_BYTES)
        except UnreadableFileError:
            return []
        header, *lines = (data or b"").splitlines(keepends=True) or [b""]
        known = _header(header)
        if known is None:
            return []
        then = known["valid_for"]
        self.changed = tuple(name for name in valid_for if then.get(name) != valid_for[name])
        if self.changed:
            return []
        usable = []
        for line in lines:
            found = request_of(line) if line.endswith(b"\n") else None
            if found is not None:
                key, log = found
                self._waiting.setdefault(key, deque()).append(line)
                self.logs.add(log)
                usable.append(line)
        return usable

    def _count(self, task: str, answer: Answer[Any], at: float) -> None:
        self.reused.probes += task in ("train", "infer")
        assert answer.result is not None, "a probe that died is not kept"
        self.reused.lr_steps += len(answer.result["losses"]) if task == "lr_range" else 0
        self.reused.seconds += answer.seconds
        self.reused.since = min(self.reused.since, at)

    @contextmanager
    def _if_the_disk_allows(self) -> Iterator[None]:
        """Measure without keeping anything more where the disk is full or read-only."""
        try:
            yield
        except OSError as error:
            self._file = None
            _log.warning(
                "%s: cannot be written, so this run could not be resumed: %s",
                shown_path(self._path),
                error.strerror,
            )


def forget(path: Path, run: str) -> None:
    """Remove the answers of a case that a run has measured, unless another run goes on with it."""
    try:
        with path.open("rb") as file:
            known = _header(file.readline(_MAX_HEADER_BYTES))
        if known is not None and known["run"] == run:
            path.unlink(missing_ok=True)
    except OSError:
        return


def remove_logs(directory: Path, count: int, but: Collection[str] = ()) -> None:
    """Remove the logs of an earlier run's probes.

    count: the number of probes of this run so far, whose logs stay.
    but: names of logs that stay.
    """
    for path in directory.iterdir():
        name = path.name
        if LOG.fullmatch(name) and name not in but and int(name.split("-")[0]) > count:
            path.unlink(missing_ok=True)


def _header(line: bytes) -> dict[str, Any] | None:
    """Return the first line of a file; None where it is none of this format."""
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        return None
    return header if isinstance(header.get("valid_for"), dict) and "run" in header else None


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
