"""The script of benchmarks for a GPU: its dry run, and the facts that it keeps after trouble."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cuda_session
import pytest
from cuda_experiments import failing
from cuda_experiments.failures import update_fixtures
from cuda_experiments.setting import NeedsCudaError, Setting
from cuda_session import EXPERIMENTS, Planned, run_session
from projects import DATA, MIB

if TYPE_CHECKING:
    from cuda_experiments.setting import Facts

FIXTURES = DATA / "cuda_exceptions.json"
BENCHMARKS = Path(cuda_session.__file__).parent


def works(_setting: Setting) -> Facts:
    """Yield two facts."""
    yield "one", 1
    yield "other", [2]


def crashes(_setting: Setting) -> Facts:
    """Yield a fact, and fail."""
    yield "one", 1
    raise ZeroDivisionError("by hand")


def needs_cuda(_setting: Setting) -> Facts:
    """Refuse to run without a GPU."""
    raise NeedsCudaError
    yield "never", 0


PLANNED = {
    "1": Planned("crash", crashes, 10.0),
    "2": Planned("work", works, 10.0),
    "3": Planned("device", needs_cuda, 10.0),
    "4": Planned("slow", works, -1.0),
}


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    """Return the setting of a dry run."""
    return Setting(dry_run=True, budget_bytes=32 * MIB, directory=tmp_path / "files")


def read(path: Path) -> dict[str, Any]:
    """Return the experiments of a session's file."""
    session: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    experiments: dict[str, Any] = session["experiments"]
    return experiments


def test_crashing_experiment_is_recorded_and_the_next_one_runs(
    tmp_path: Path, setting: Setting
) -> None:
    """A crash keeps its traceback and the facts before it, and the next experiment runs."""
    run_session(tmp_path / "s.json", setting, ["1", "2"], PLANNED)
    crashed, done = read(tmp_path / "s.json").values()
    assert ("crashed", {"one": 1}) == (crashed["status"], crashed["facts"])
    assert "ZeroDivisionError: by hand" in crashed["traceback"]
    assert ("done", {"one": 1, "other": [2]}) == (done["status"], done["facts"])


def test_experiment_without_meaning_on_the_cpu_says_so(tmp_path: Path, setting: Setting) -> None:
    """An experiment that needs CUDA has the status `needs CUDA` in a dry run."""
    run_session(tmp_path / "s.json", setting, ["3"], PLANNED)
    assert read(tmp_path / "s.json")["3"]["status"] == "needs CUDA"


def test_experiment_out_of_time_begins_nothing_more(tmp_path: Path, setting: Setting) -> None:
    """An experiment out of time keeps its facts so far, and its status says so."""
    run_session(tmp_path / "s.json", setting, ["4"], PLANNED)
    slow = read(tmp_path / "s.json")["4"]
    assert ("out of time", {"one": 1}) == (slow["status"], slow["facts"])


def test_each_fact_is_on_disk_before_the_next_is_looked_for(
    tmp_path: Path, setting: Setting
) -> None:
    """Each fact is written at once, with the status `running`."""
    path = tmp_path / "s.json"
    seen = []

    def looks(_setting: Setting) -> Facts:
        yield "one", 1
        seen.append(read(path)["1"])

    run_session(path, setting, ["1"], {"1": Planned("looks", looks, 10.0)})
    assert [("running", {"one": 1})] == [(result["status"], result["facts"]) for result in seen]


def test_sessions_add_up(tmp_path: Path, setting: Setting) -> None:
    """Experiments of an earlier call stay, in order; a repeated experiment is replaced."""
    path = tmp_path / "s.json"
    run_session(path, setting, ["2"], PLANNED)
    run_session(path, setting, ["1"], PLANNED)
    run_session(path, setting, ["2"], PLANNED | {"2": PLANNED["4"]})
    assert {"1": "crashed", "2": "out of time"} == {
        n: one["status"] for n, one in read(path).items()
    }
    assert ["1", "2"] == list(read(path))


def test_dry_run_of_cheap_experiments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run on the bounded CPU kills a process, and reports experiments that need CUDA."""
    path = tmp_path / "s.json"
    code = cuda_session.main(
        ["--json", str(path), "--dry-run", "--only", "8,10", "--budget", "8MiB"]
    )
    killed, large = read(path).values()
    assert (0, "done", "needs CUDA") == (code, killed["status"], large["status"])
    fact = killed["facts"]["kill 1"]
    assert ('{"held": 8388608}', True) == (fact["said"], fact["seconds until the end"] < 10)
    assert " 8 killed in a step: done" in capsys.readouterr().out


def test_unknown_experiments_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message for an unknown number lists the known ones."""
    with pytest.raises(SystemExit):
        cuda_session.main(["--json", str(tmp_path / "s.json"), "--only", "1,99"])
    assert "99 is not one of 1, 2, 3" in capsys.readouterr().err


@pytest.mark.parametrize("row", failing.ON_THE_HOST)
def test_failures_on_the_host_are_recorded_as_fixtures(row: str) -> None:
    """A failure that experiment 3 provokes on a CPU equals its committed record.

    Only the source and the figures of the device differ.
    """
    made = failing.fail(cuda=False, row=row, budget_bytes=0)
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
    """A GPU's record replaces the text and keeps the expectation; a CPU's replaces nothing."""
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


def test_statements_keep_their_numbers_and_tests() -> None:
    """The page for the GPU has each of its 49 statements, and the tests that it names exist."""
    text = (BENCHMARKS / "CUDA.md").read_text(encoding="utf-8")
    statements = text.partition("## What only a GPU can prove")[2]
    numbers = {int(number) for number in re.findall(r"^\| (\d+) \|", statements, re.MULTILINE)}
    assert {*range(1, 50)} == numbers
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", text)
    simulated = BENCHMARKS.parent / "tests" / "simulated"
    missing = [
        (file, test)
        for file, test in named
        if f"def {test}(" not in (simulated / file).read_text(encoding="utf-8")
    ]
    assert (True, []) == (len(named) > 30, missing)


def test_session_fits_its_machine() -> None:
    """All experiments together take 25 minutes at most."""
    assert sum(planned.seconds for planned in EXPERIMENTS.values()) <= 25 * 60
