"""The answers that a run keeps for the next one."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from harness.probes import kept_answers, kept_lines
from harness.probes.answers import Answer
from harness.probes.kept_answers import NAME, KeptAnswers, forget, remove_logs

if TYPE_CHECKING:
    from pathlib import Path

HOLDS_FOR = {"the workload": "sha256:f1", "its recipe": "sha256:r1"}
HISTORY = {"sizes": [8, 16], "events": [0, 1, -1], "first_step": 2}


def request(batch_size: int = 4, **more: Any) -> dict[str, Any]:
    """Return a request to train."""
    return {
        "task": "train",
        "batch_size": batch_size,
        "snapshot": None,
        "history": None,
        "bound": {"accelerator": "cpu", "budget_bytes": 64},
    } | more


def answer(batch_size: int = 4, outcome: str = "fits", **more: Any) -> Answer[Any]:
    """Return the answer to a request to train."""
    result: dict[str, Any] = {
        "outcome": outcome,
        "detail": None,
        "traceback": None,
        "batch_size": batch_size,
        "peak_memory_bytes": 100 * batch_size,
        "memory_limit_bytes": 1000,
        "samples": 12,
        "steps": 3,
        "samples_per_second": 2.5,
        "growing": False,
        "growth": None,
        "above_limit": False,
        "finite_loss": True,
        "notes": [],
        "values_read": None,
        "rank": None,
    }
    given = {"result": result, "death": None, "phase": "forward", "seconds": 1.5} | more
    return Answer(log="/elsewhere/002-train-b4.log", **given)


def curve(seed: int = 0, losses: tuple[float, ...] = (2.0, 1.5, 1.0)) -> tuple[Any, Any]:
    """Return a request to sweep the learning rate, and its answer."""
    asked = {"task": "lr_range", "seed": seed, "learning_rates": [0.1] * len(losses)}
    result: dict[str, Any] = {
        "outcome": "fits",
        "refusal": None,
        "raised": None,
        "learning_rates": [0.1] * len(losses),
        "losses": list(losses),
    }
    return asked, answer(result=result)


def kept(folder: Path, run: str = "second", **changes: str) -> KeptAnswers:
    """Open the answers of a case as a run does."""
    return KeptAnswers(folder / NAME, HOLDS_FOR | changes, run)


def keep(folder: Path, *pairs: tuple[Any, Any], run: str = "first") -> None:
    """Keep answers to requests as an interrupted run does."""
    with kept(folder, run) as answers:
        for asked, answered in pairs:
            answers.keep(asked, answered)


def taken(folder: Path, asked: dict[str, Any], **changes: str) -> Any:
    """Return the result that the next run gets; None where its probe has to run."""
    with kept(folder, **changes) as answers:
        found = answers.take(asked, folder)
        return None if found is None else found.result


def test_answer_of_an_interrupted_run_is_given_to_the_next(tmp_path: Path) -> None:
    """It is what the probe has answered; only its log is where this run's logs are."""
    keep(tmp_path, (request(4), answer(4)), (request(8), answer(8, "oom")))
    with kept(tmp_path) as answers:
        assert 2 == len(answers)
        found = answers.take(request(8), tmp_path)
        assert found is not None
        assert (answer(8, "oom").result, "forward", 1.5) == (
            found.result,
            found.phase,
            found.seconds,
        )
        assert str(tmp_path / "002-train-b4.log") == found.log
        assert None is answers.take(request(16), tmp_path)


def test_answers_are_given_once_each_in_their_order(tmp_path: Path) -> None:
    """A probe that is repeated on purpose gets as many answers as were kept."""
    keep(tmp_path, *((request(4), answer(4, seconds=second)) for second in (1.0, 2.0)))
    with kept(tmp_path) as answers:
        found = [answers.take(request(4), tmp_path) for _ in range(3)]
        assert [1.0, 2.0, None] == [one and one.seconds for one in found]


def test_run_that_is_interrupted_again_leaves_the_answers_of_both(tmp_path: Path) -> None:
    """What was taken stays in the file, and what ran since is added."""
    keep(tmp_path, (request(4), answer(4)))
    with kept(tmp_path) as answers:
        answers.take(request(4), tmp_path)
        answers.keep(request(8), answer(8))
    with kept(tmp_path, "third") as answers:
        assert 2 == len(answers)


@pytest.mark.parametrize(
    "changes", [{"the workload": "sha256:f2"}, {"its recipe": ""}, {"the device": "another"}]
)
def test_answers_hold_for_one_workload_recipe_and_device(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    """Where one of them has changed, every probe runs, and the old answers are gone."""
    keep(tmp_path, (request(4), answer(4)))
    with kept(tmp_path, **changes) as answers:
        assert tuple(changes) == answers.changed
        assert 0 == len(answers)
    assert None is taken(tmp_path, request(4))


@pytest.mark.parametrize(
    "other",
    [{"batch_size": 5}, {"bound": {"accelerator": "cpu", "budget_bytes": 65}}, {"steps": 9}],
)
def test_other_request_is_not_answered(tmp_path: Path, other: dict[str, Any]) -> None:
    """Every key of a request counts."""
    keep(tmp_path, (request(4), answer(4)))
    assert None is taken(tmp_path, request(4) | other)


@pytest.mark.parametrize(
    "answered",
    [
        answer(outcome="error"),
        answer(outcome="machine"),
        answer(timed_out=True),
        answer(result=None, death={"outcome": "error", "detail": "was killed", "traceback": None}),
    ],
    ids=["error", "machine", "timed out", "died"],
)
def test_trouble_is_not_kept(tmp_path: Path, answered: Answer[Any]) -> None:
    """It may have been the machine's, so the next run sees for itself."""
    keep(tmp_path, (request(), answered))
    assert None is taken(tmp_path, request())


def test_probe_that_leaves_a_snapshot_runs_again(tmp_path: Path) -> None:
    """Its file is not kept."""
    asked = request(snapshot="/elsewhere/out-of-memory-b4.pickle")
    keep(tmp_path, (asked, answer()))
    assert None is taken(tmp_path, asked)


def test_what_a_strategy_reads_is_asked_again(tmp_path: Path) -> None:
    """Its code may lie apart from the workload's, so no digest tells whether it has changed."""
    asked = {"task": "lr_strategy", "class_path": "rules.half", "init_args": {}}
    told = answer(result={"outcome": "fits", "learning_rates": [0.1]})
    with kept(tmp_path, "first") as answers:
        answers.keep(asked, told)
    with kept(tmp_path) as answers:
        assert answers.take(asked, tmp_path) is None


def test_history_is_written_where_the_request_asks_for_it(tmp_path: Path) -> None:
    """The search replays it as if the probe had just recorded it."""
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    first.write_text(json.dumps(HISTORY), encoding="utf-8")
    keep(tmp_path, (request(history=str(first)), answer()))
    assert None is not taken(tmp_path, request(history=str(second)))
    assert HISTORY == json.loads(second.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "wrong",
    [{"events": [2]}, {"events": [-3]}, {"sizes": [-1, 2]}, {"first_step": 4}, {"events": "x"}],
)
def test_history_that_cannot_be_replayed_is_not_used(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Its indices have to be those of its blocks."""
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    first.write_text(json.dumps(HISTORY | wrong), encoding="utf-8")
    keep(tmp_path, (request(history=str(first)), answer()))
    assert None is taken(tmp_path, request(history=str(second)))
    assert not second.exists()


def test_truncated_last_line_is_harmless(tmp_path: Path) -> None:
    """A process that is killed while it writes loses that answer alone."""
    keep(tmp_path, (request(4), answer(4)), (request(8), answer(8)))
    data = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(data[:-20])
    with kept(tmp_path) as answers:
        answers.keep(request(16), answer(16))
        assert 1 == len(answers)
    with kept(tmp_path) as answers:
        assert 2 == len(answers)


@pytest.mark.parametrize(
    "changes",
    [
        {"at": 0.0},
        {"at": float("nan")},
        {"at": "now"},
        {"log": "../../etc/passwd"},
        {"log": 3},
        {"run": None},
        {"seconds": -1.0},
        {"seconds": float("inf")},
        {"phase": "elsewhere"},
        {"request": 4},
        {"result": None},
        {"result": {"outcome": "fits"}},
        {"history": {"sizes": []}},
    ],
    ids=str,
)
def test_implausible_answer_is_ignored(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Anybody may have written the file."""
    keep(tmp_path, (request(), answer()))
    header, line = (tmp_path / NAME).read_text(encoding="utf-8").splitlines()
    forged = json.dumps(json.loads(line) | changes)
    (tmp_path / NAME).write_text(f"{header}\n{forged}\n", encoding="utf-8")
    assert None is taken(tmp_path, request())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\xff\xfe",
        b"[1]\n",
        b'{"format": 2, "run": "first", "valid_for": {}}\n',
        b'{"format": 1, "run": "first", "valid_for": [1]}\n',
        b"[" * 100_000 + b"\n",
        b'{"format": 1, "run": "x", "valid_for": {}}\n' + b"[" * 100_000 + b"\n",
    ],
)
def test_file_of_another_form_is_replaced(tmp_path: Path, data: bytes) -> None:
    """The run keeps its own answers in its place."""
    (tmp_path / NAME).write_bytes(data)
    keep(tmp_path, (request(), answer()))
    assert answer().result == taken(tmp_path, request())


def test_file_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory that reading takes is bounded."""
    keep(tmp_path, *((request(size), answer(size)) for size in range(20)))
    monkeypatch.setattr(kept_answers, "MAX_BYTES", 2000)
    assert None is taken(tmp_path, request(3))


def test_size_of_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beyond the limit runs again, and so does a probe with too large an answer."""
    monkeypatch.setattr(kept_answers, "MAX_BYTES", 3000)
    monkeypatch.setattr(kept_lines, "MAX_LINE_BYTES", 1000)
    keep(tmp_path, curve(losses=(1.0,) * 1000), *((request(n), answer(n)) for n in range(20)))
    assert 2000 < (tmp_path / NAME).stat().st_size <= 3000
    assert answer(0).result == taken(tmp_path, request(0))
    assert None is taken(tmp_path, curve(losses=(1.0,) * 1000)[0])


def test_folder_in_place_of_the_file_ends_no_run(tmp_path: Path) -> None:
    """Nothing is kept then."""
    (tmp_path / NAME).mkdir()
    keep(tmp_path, (request(), answer()))
    assert None is taken(tmp_path, request())


def test_note_tells_what_was_taken_and_when_it_ran(tmp_path: Path) -> None:
    """Probes of batch sizes are counted, and the steps of sweeps and trials."""
    keep(tmp_path, (request(4), answer(4)), (request(8), answer(8)), curve())
    with kept(tmp_path) as answers:
        assert None is answers.note()
        for asked in (request(4), curve()[0]):
            answers.take(asked, tmp_path)
        note = answers.note()
        since = answers.reused.since
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(since))
    assert (
        f"resumed: 1 probe and 3 LR steps are from the run of {when}, which did not finish; "
        "they took 3 seconds, beyond the seconds of this run"
    ) == note


def test_answers_of_the_same_run_are_not_told(tmp_path: Path) -> None:
    """Two workers of xdist may measure one case."""
    keep(tmp_path, (request(4), answer(4)), run="second")
    with kept(tmp_path) as answers:
        assert None is not answers.take(request(4), tmp_path)
        assert None is answers.note()


def test_only_the_run_that_kept_them_forgets_answers(tmp_path: Path) -> None:
    """Another run may have taken the file over meanwhile."""
    keep(tmp_path, (request(), answer()))
    forget(tmp_path / NAME, "another")
    assert (tmp_path / NAME).exists()
    forget(tmp_path / NAME, "first")
    assert not (tmp_path / NAME).exists()
    forget(tmp_path / NAME, "first")


def test_logs_of_an_earlier_run_go_unless_an_answer_refers_to_them(tmp_path: Path) -> None:
    """Those of this run's own probes stay as well, and other files."""
    keep(tmp_path, (request(), answer()))
    names = ("001-describe.log", "002-train-b4.log", "007-train-b9.log", "zygote.log")
    for name in names:
        (tmp_path / name).write_text("", encoding="utf-8")
    with kept(tmp_path) as answers:
        remove_logs(tmp_path, 1, answers.logs)
    left = {path.name for path in tmp_path.iterdir()}
    assert {*names, NAME} - {"007-train-b9.log"} == left
