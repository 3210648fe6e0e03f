"""The session on a GPU: its time, its file, and the facts that both keep after trouble."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import cuda_session
import pytest
from cuda_experiments import failing, session
from cuda_experiments.failures import update_fixtures
from cuda_experiments.session import Notes, Planned, SessionFile, conduct, run_session
from cuda_experiments.setting import Setting
from cuda_session import CALLS, EXPERIMENTS
from projects import DATA, MIB

from harness.errors import HarnessError

if TYPE_CHECKING:
    from pathlib import Path

    from cuda_experiments.setting import Note

FIXTURES = DATA / "cuda_exceptions.json"
SLICE = """
import sys, time
from pathlib import Path
sys.path[:0] = {path!r}
from cuda_experiments.session import Planned, SessionFile, ended_by, run_session
from cuda_experiments.setting import Setting
file = SessionFile(Path({json!r}), simulated=True)
setting = Setting(budget_bytes=0, directory=Path({json!r}).parent, simulated=True)
"""
ENDLESS = """
def endless(setting, note):
    number = 0
    while True:
        note(f"fact {number}", {"value": list(range(1000)), "number": number})
        number += 1
        print(number, flush=True)
run_session(file, setting, {"1": Planned("endless", endless, 1e6)}, deadline=time.monotonic() + 1e6)
"""
STUCK = """
import ctypes
with ended_by(time.monotonic() + 0.5, lambda: print("last words", flush=True)):
    libc = ctypes.CDLL(None)
    while True:
        libc.pause()
"""


def works(_setting: Setting, note: Note) -> None:
    """Note two facts."""
    note("one", 1)
    note("other", [2])


def crashes(_setting: Setting, note: Note) -> None:
    """Note a fact, and fail."""
    note("one", 1)
    raise ZeroDivisionError("by hand")


def waits(_setting: Setting, note: Note) -> None:
    """Note a fact, and wait for something that never comes, whatever errors there are."""
    note("one", 1)
    reader, _ = os.pipe()
    while True:
        try:
            os.read(reader, 1)
        except Exception as error:  # noqa: BLE001 - as experiments whose other parts go on
            note("error", repr(error))


PLANNED = {"1": Planned("crash", crashes, 10.0), "2": Planned("work", works, 10.0)}


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    """Return the setting of a session without a GPU."""
    return Setting(budget_bytes=32 * MIB, directory=tmp_path / "files", simulated=True)


@pytest.fixture
def file(tmp_path: Path) -> SessionFile:
    """Return the file of a new session."""
    return SessionFile(tmp_path / "s.json", simulated=True)


def read(file: SessionFile) -> dict[str, Any]:
    """Return the experiments that are on disk."""
    content: dict[str, Any] = json.loads(file.path.read_text(encoding="utf-8"))
    experiments: dict[str, Any] = content["experiments"]
    return experiments


def run(file: SessionFile, setting: Setting, seconds: float, **planned: Planned) -> dict[str, Any]:
    """Run experiments by number, as `n1`, in a call of some seconds; return those on disk."""
    numbered = {name.removeprefix("n"): one for name, one in planned.items()}
    run_session(file, setting, numbered, deadline=time.monotonic() + seconds)
    return read(file)


def test_crashing_experiment_is_recorded_and_the_next_one_runs(
    file: SessionFile, setting: Setting
) -> None:
    """A crash keeps its traceback and the facts before it, and the next experiment runs."""
    crashed, done = run(file, setting, 60, n1=PLANNED["1"], n2=PLANNED["2"]).values()
    assert ("crashed", {"one": 1}) == (crashed["status"], crashed["facts"])
    assert "ZeroDivisionError: by hand" in crashed["traceback"]
    assert ("done", {"one": 1, "other": [2]}) == (done["status"], done["facts"])


def test_experiment_ends_with_its_time_wherever_it_waits(
    file: SessionFile, setting: Setting
) -> None:
    """An experiment that waits for ever is ended, keeps its facts, and its status says so."""
    conduct(Planned("wait", waits, 1.0), setting, lambda result: file.keep("4", result), 0.2)
    slow = read(file)["4"]
    assert ("out of time", {"one": 1}) == (slow["status"], slow["facts"])


def test_time_left_over_goes_to_the_next_experiment(
    file: SessionFile, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An experiment may use its share and what those before it have left; never the reserve."""
    given = []

    def conducted(_: Any, _setting: Any, _keep: Any, seconds: float, _earlier: Any) -> Any:
        given.append(round(seconds))
        return {"status": "done", "facts": {}, "seconds": 0.0}

    monkeypatch.setattr(session, "conduct", conducted)
    planned = {number: Planned(number, works, 20.0) for number in ("1", "2", "3")}
    run_session(file, setting, planned, deadline=time.monotonic() + 58)
    assert [20, 40, 50] == given


def test_experiment_without_time_is_not_begun(file: SessionFile, setting: Setting) -> None:
    """Where only the reserve of a call is left, nothing is begun and no fact is lost."""
    run(file, setting, 60, n2=PLANNED["2"])
    assert ["2"] == list(run(file, setting, 9, n1=PLANNED["1"]))
    assert "not begun" == file.status("1")


def test_each_fact_is_on_disk_before_the_next_is_looked_for(
    file: SessionFile, setting: Setting
) -> None:
    """Each fact is written at once, with the status `running`."""
    seen = []

    def looks(_setting: Setting, note: Note) -> None:
        note("one", 1)
        seen.append(read(file)["1"])

    run(file, setting, 60, n1=Planned("looks", looks, 10.0))
    assert [("running", {"one": 1})] == [(result["status"], result["facts"]) for result in seen]


def test_session_that_is_killed_leaves_its_facts(tmp_path: Path) -> None:
    """After SIGKILL at any moment the file is whole, and has all facts that were reported."""
    path = tmp_path / "s.json"
    script = SLICE.format(path=sys.path, json=str(path)) + ENDLESS
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        reported = [process.stdout.readline() for _ in range(40)]
        process.send_signal(signal.SIGKILL)
    result = json.loads(path.read_text(encoding="utf-8"))["experiments"]["1"]
    numbers = [fact["number"] for fact in result["facts"].values()]
    assert ("running", [f"{number}\n" for number in range(1, 41)]) == (result["status"], reported)
    assert list(range(max(40, len(numbers)))) == numbers


def test_call_that_hangs_in_a_library_ends_all_the_same(tmp_path: Path) -> None:
    """Where no alarm helps, the process says its last words and ends with code 1."""
    script = SLICE.format(path=sys.path, json=str(tmp_path / "s.json")) + STUCK
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert (1, "last words\n", "") == (done.returncode, done.stdout, done.stderr)


def test_calls_add_up(file: SessionFile, setting: Setting) -> None:
    """Experiments of an earlier call stay, in order; a repeated experiment is replaced."""
    run(file, setting, 60, n10=PLANNED["2"])
    again = SessionFile(file.path, simulated=True)
    run(again, setting, 60, n2=PLANNED["1"])
    found = run(again, setting, 60, n10=PLANNED["1"])
    assert {"2": "crashed", "10": "crashed"} == {n: one["status"] for n, one in found.items()}
    assert ["2", "10"] == list(found)


def test_facts_of_an_unfinished_experiment_stay(file: SessionFile, setting: Setting) -> None:
    """An experiment that goes on in a later call knows its facts, and none of them is lost."""
    seen = []

    def goes_on(_setting: Setting, note: Note) -> None:
        seen.append(["one" in note, "other" in note])
        note("other", 2)

    run(file, setting, 60, n1=PLANNED["1"])
    again = SessionFile(file.path, simulated=True)
    found = run(again, setting, 60, n1=Planned("goes on", goes_on, 10.0))["1"]
    assert ("done", {"one": 1, "other": 2}) == (found["status"], found["facts"])
    # One that is done begins anew.
    run(again, setting, 60, n1=Planned("goes on", goes_on, 10.0))
    assert [[True, False], [False, False]] == seen


@pytest.mark.parametrize(
    ("fact", "known"),
    [
        (118, True),
        ({"B": 118}, True),
        ({"answer": {"record": None}, "exit_code": 0}, True),
        ({"answer": None, "exit_code": 1}, False),
        ({"error": "WorkloadError: lost"}, False),
    ],
)
def test_errors_are_looked_for_again(file: SessionFile, fact: Any, known: bool) -> None:
    """An experiment that goes on skips what it knows, and tries again what has failed."""
    notes = Notes({"facts": {}}, lambda result: file.keep("1", result))
    notes("one", fact)
    assert known is ("one" in notes)


def test_file_has_one_fact_a_line(file: SessionFile, setting: Setting) -> None:
    """Long facts do not make the file long, and it stays JSON."""
    run(file, setting, 60, n2=PLANNED["2"])
    lines = [line.strip() for line in file.path.read_text(encoding="utf-8").splitlines()]
    assert ['"one": 1,', '"other": [2]'] == lines[lines.index('"facts": {') + 1 :][:2]


def test_facts_of_different_kinds_are_never_mixed(file: SessionFile, setting: Setting) -> None:
    """Each result says that it is simulated, and its file takes no facts of another kind."""
    assert [True] == [one["simulated"] for one in run(file, setting, 60, n2=PLANNED["2"]).values()]
    with pytest.raises(HarnessError, match="holds facts of a simulated GPU, and this GPU is real"):
        SessionFile(file.path, simulated=False)
    with pytest.raises(HarnessError, match="is cut down: name another file"):
        SessionFile(file.path, simulated=True, cut_down=True)


def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    """A file that is no JSON stays as it is, and the message names it."""
    (tmp_path / "s.json").write_text("{", encoding="utf-8")
    with pytest.raises(HarnessError, match="is no JSON"):
        SessionFile(tmp_path / "s.json", simulated=False)
    assert "{" == (tmp_path / "s.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("call", CALLS)
def test_call_goes_on_with_all_that_is_not_done(
    file: SessionFile, setting: Setting, call: str
) -> None:
    """A call begins with its own experiments, goes on with the others, and repeats none."""
    own = CALLS[call][1]
    run(file, setting, 60, **{f"n{own[0]}": PLANNED["2"], f"n{own[1]}": PLANNED["1"]})
    options = cuda_session.parse(["--json", "s.json", "--call", call])
    numbers = list(cuda_session.chosen(options, file))
    assert [*own[1:]] == numbers[: len(own) - 1]
    assert set(EXPERIMENTS) - {own[0]} == set(numbers)
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("call", CALLS)
def test_shares_of_a_call_fit_its_time(call: str) -> None:
    """The experiments that a call begins with end before its last eight seconds."""
    seconds, numbers = CALLS[call]
    assert sum(EXPERIMENTS[number].seconds for number in numbers) <= seconds - 8


def test_calls_have_the_most_valuable_experiments_first() -> None:
    """Both calls keep the order of the table, and share no experiment."""
    order = [*EXPERIMENTS]
    places = [[order.index(number) for number in numbers] for _, numbers in CALLS.values()]
    assert all(before < after for call in places for before, after in pairwise(call))
    assert len(order[: sum(map(len, places))]) == len({one for call in places for one in call})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "1,99"], "99 is not one of 1, 7, 11"),
        (["--record"], "--record needs --simulate GPU"),
        ([], "one of the arguments --call --only --record --fixtures is required"),
    ],
)
def test_unknown_arguments_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """The message says what is allowed."""
    with pytest.raises(SystemExit):
        cuda_session.main(["--json", str(tmp_path / "s.json"), *arguments])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("row", failing.ON_THE_HOST)
def test_failures_on_the_host_are_recorded_as_fixtures(row: str) -> None:
    """A failure that experiment 3 provokes on a CPU equals its committed record.

    Only the source and the figures of the device differ.
    """
    made = failing.fail(row=row, budget_bytes=0, seen_on_gpu=False)
    (committed,) = (
        one for one in json.loads(FIXTURES.read_text(encoding="utf-8")) if one["row"] == row
    )
    same = ("row", "type", "error_code", "args", "expected", "seen_on_gpu")
    assert {key: committed[key] for key in same} == {key: made["record"][key] for key in same}
    assert committed.keys() == made["record"].keys()


def test_every_row_that_is_provoked_has_a_record() -> None:
    """Each row of experiment 3 has a record in the fixtures."""
    rows = {record["row"] for record in json.loads(FIXTURES.read_text(encoding="utf-8"))}
    assert set() == set(failing.ROWS) - rows


def test_what_a_gpu_showed_replaces_what_was_read(tmp_path: Path) -> None:
    """A GPU's record replaces the text and keeps the expectation; another's replaces nothing."""
    path = tmp_path / "fixtures.json"
    old = {"row": "a", "message": "read", "expected": "device", "seen_on_gpu": False}
    path.write_text(json.dumps([old, old | {"row": "b"}]), encoding="utf-8")
    seen = {"message": "seen", "expected": "host", "seen_on_gpu": True}
    facts = {
        "a": {"answer": {"record": {"row": "a"} | seen}},
        "b": {"answer": {"record": {"row": "b"} | seen | {"seen_on_gpu": False}}},
        "c": {"answer": {"record": {"row": "c"} | seen}},
        "d": {"answer": {"record": None}},
        "e": {"answer": None, "exit_code": 1},
        "f": "needs a C compiler",
    }
    assert ["a", "c"] == update_fixtures(path, facts)
    records = json.loads(path.read_text(encoding="utf-8"))
    assert [("a", "seen", "device"), ("b", "read", "device"), ("c", "seen", "host")] == [
        (record["row"], record["message"], record["expected"]) for record in records
    ]
