"""Runs the experiments of a session one after the other, each within its time.

Each fact is in the session's file before the next one is looked for, and the file is replaced in
one piece: whoever ends the session, and whenever, finds all facts so far.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cuda_experiments.processes import end_all
from harness.errors import HarnessError
from harness.files import replacing
from harness.wording import shown_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from cuda_experiments.setting import Experiment, Setting

# Seconds at the end of a call that no experiment gets: for ending processes, and for the last line.
_RESERVE = 8.0
# An experiment that has less than this left is not begun.
_LEAST = 5.0


class OutOfTimeError(BaseException):
    """The time of an experiment is over. No handler of exceptions on the way may keep it."""


@dataclass(frozen=True)
class Planned:
    """One experiment of a session."""

    title: str
    run: Experiment
    seconds: float
    """Its share of a call. What those before it have left over is added."""


class SessionFile:
    """The facts of a session on disk.

    Raises HarnessError where an existing file cannot be read, and where it holds a simulation's
    facts and this session runs on a GPU, or the other way round; likewise if only one is cut down.
    """

    def __init__(self, path: Path, *, simulated: bool, cut_down: bool = False) -> None:
        self.path = path
        self.content: dict[str, Any] = {
            "simulated": simulated,
            "cut_down": cut_down,
            "experiments": {},
        }
        if path.exists():
            try:
                self.content = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise HarnessError(f"{shown_path(path)}: is no JSON ({error})") from error
            if self.content.get("simulated") != simulated:
                raise HarnessError(
                    f"{shown_path(path)}: holds facts of a {_kind(not simulated)} GPU, and this "
                    f"GPU is {_kind(simulated)}: name another file"
                )
            if self.content.get("cut_down") != cut_down:
                raise HarnessError(
                    f"{shown_path(path)}: only one of its sessions and this one is cut down: name "
                    "another file"
                )

    def keep(self, number: str, result: dict[str, Any]) -> None:
        """Write the result of an experiment as it is now."""
        self.content["experiments"][number] = result
        with replacing(self.path) as temporary:
            temporary.write_text(_text(self.content), encoding="utf-8")

    def unfinished(self, number: str) -> dict[str, Any]:
        """Return the facts of an experiment that did not come to its end; {} where it did."""
        earlier = self.content["experiments"].get(number, {})
        return {} if earlier.get("status") == "done" else dict(earlier.get("facts", {}))

    def status(self, number: str) -> str:
        """Return the status of an experiment, such as `not begun` or `done`."""
        return str(self.content["experiments"].get(number, {}).get("status", "not begun"))


class Notes:
    """The facts of one experiment: each is on disk before the next one is looked for."""

    def __init__(self, result: dict[str, Any], keep: Callable[[dict[str, Any]], None]) -> None:
        self._result = result
        self._keep = keep
        self._started = time.monotonic()

    def __call__(self, name: str, fact: Any) -> None:
        """Write a fact."""
        self._result["facts"][name] = fact
        self._result["seconds"] = round(time.monotonic() - self._started, 1)
        self._keep(self._result)

    def __contains__(self, name: str) -> bool:
        """Return whether this call or an earlier one has found a fact, and not only an error."""
        fact = self._result["facts"].get(name)
        if isinstance(fact, dict):
            return "error" not in fact and fact.get("answer", "") is not None
        return fact is not None


def conduct(
    planned: Planned,
    setting: Setting,
    keep: Callable[[dict[str, Any]], None],
    seconds: float,
    earlier: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Run one experiment, and return its result; an exception becomes part of the result.

    keep: called with the result so far after each fact.
    seconds: the time that it has, and not a second more.
    earlier: the facts of an earlier call that did not come to the experiment's end; they stay.
    """
    started = time.monotonic()
    result: dict[str, Any] = {
        "title": planned.title,
        "status": "running",
        "simulated": setting.simulated,
        "seconds": 0.0,
        "facts": dict(earlier or {}),
    }
    keep(result)
    try:
        with limited(seconds):
            planned.run(setting, Notes(result, keep))
        result["status"] = "done"
    except OutOfTimeError:
        result["status"] = "out of time"
    except Exception as error:  # noqa: BLE001 - the other experiments go on
        result |= {"status": "crashed", "error": repr(error), "traceback": traceback.format_exc()}
    result["seconds"] = round(time.monotonic() - started, 1)
    keep(result)
    return result


def run_session(
    file: SessionFile,
    setting: Setting,
    planned: Mapping[str, Planned],
    *,
    deadline: float,
) -> None:
    """Run experiments in their order, until the deadline, and print a line for each.

    deadline: of `time.monotonic`. Every experiment ends some seconds before it.
    """
    shares = time.monotonic()
    for number, one in planned.items():
        shares += one.seconds
        left = min(shares, deadline - _RESERVE) - time.monotonic()
        if left < _LEAST:
            continue

        def keep(result: dict[str, Any], number: str = number) -> None:
            file.keep(number, result)

        result = conduct(one, setting, keep, left, file.unfinished(number))
        end_all()
        print(
            f"{number:>2} {one.title}: {result['status']}, {len(result['facts'])} facts, "
            f"{result['seconds']:.0f} s",
            flush=True,
        )


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError in the block, wherever it is or waits, once its time is over."""

    def over(*_: object) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def ended_by(deadline: float, last_words: Callable[[], None]) -> Iterator[None]:
    """End this process and its children at a deadline if the block has not ended until then.

    This is for what no alarm ends: a call of the driver that does not return.
    """
    over = threading.Event()

    def watch() -> None:
        left = max(0.0, deadline - time.monotonic())
        if not over.wait(min(left, threading.TIMEOUT_MAX)):
            last_words()
            end_all()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _text(content: dict[str, Any]) -> str:
    """Return the session as JSON, one fact a line."""
    head = {name: value for name, value in content.items() if name != "experiments"}
    numbers = sorted(content["experiments"], key=int)
    experiments = ",\n".join(
        f"  {json.dumps(number)}: {_experiment(content['experiments'][number])}"
        for number in numbers
    )
    lines = [f" {json.dumps(name)}: {json.dumps(value)},\n" for name, value in head.items()]
    return "{\n" + "".join(lines) + f' "experiments": {{\n{experiments}\n }}\n}}\n'


def _experiment(result: dict[str, Any]) -> str:
    head = {name: value for name, value in result.items() if name != "facts"}
    facts = ",\n".join(
        f"    {json.dumps(name)}: {json.dumps(fact, separators=(',', ':'))}"
        for name, fact in result["facts"].items()
    )
    lines = [f"   {json.dumps(name)}: {json.dumps(value)},\n" for name, value in head.items()]
    return "{\n" + "".join(lines) + f'   "facts": {{\n{facts}\n   }}\n  }}'


def _kind(simulated: bool) -> str:  # noqa: FBT001 - read in this module alone
    return "simulated" if simulated else "real"
