"""What the verbs print under `--json`: one document each, which their schema describes."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema  # type: ignore[import-untyped] # its types are published apart
import pytest
from command_line import CASE, Output, of_case
from hostile_words import HOSTILE, assert_harmless
from json_documents import document

import harness
import harness.cli.lockfile
from harness.cli.answers.json_schema import output_schema, schema_text
from harness.cli.command_line import main
from harness.lockfile.write import update_lock

SHIPPED = Path(harness.__file__).with_name("output.schema.json")


def test_shipped_schema_is_up_to_date() -> None:
    """After a change: python -m harness.cli.answers.json_schema > harness/output.schema.json."""
    assert schema_text() == SHIPPED.read_text(encoding="utf-8")


def test_schema_is_one() -> None:
    """The schema obeys the rules of its own draft."""
    jsonschema.Draft202012Validator.check_schema(output_schema())


def test_show_answers_with_all_values(lock: Path, capsys: Output) -> None:
    """A profile has every value of the lockfile, null where there is none."""
    update_lock(lock, [of_case(validation_batch_size=None)])
    shown = document(capsys, "show", CASE, code=0)
    assert (1, "show", CASE, None) == tuple(
        shown[key] for key in ("version", "verb", "case", "field")
    )
    assert (3328, None, "cpu") == (
        shown["profiles"][0]["batch_size"],
        shown["profiles"][0]["validation_batch_size"],
        shown["profiles"][0]["device"]["name"],
    )


def test_show_answers_with_the_value_of_a_field(lock: Path, capsys: Output) -> None:
    """A value keeps its type."""
    shown = document(capsys, "show", CASE, "--field", "learning_rate_range", code=0)
    assert [0.002107, 0.00474] == shown["value"]


def test_diff_answers_with_each_change(lock: Path, capsys: Output) -> None:
    """A change has both values, and its share where they are numbers."""
    other = lock.with_name("other.lock")
    update_lock(other, [of_case(batch_size=1664, learning_rate=None), of_case("added")])
    compared = document(capsys, "diff", str(lock), str(other), code=1)
    added, changed = compared["differences"]
    assert ("added", [], "added") == (
        added["kind"],
        added["changes"],
        added["profile"]["axes"]["model"],
    )
    assert [
        {"name": "batch_size", "old": 3328, "new": 1664, "relative": -0.5},
        {"name": "learning_rate", "old": 0.00316, "new": None, "relative": None},
    ] == changed["changes"][:2]
    assert [] == document(capsys, "diff", str(lock), str(lock), code=0)["differences"]


def test_check_answers_with_each_finding(lock: Path, capsys: Output) -> None:
    """The findings are those of the words, and the exit code is the same."""
    update_lock(lock, [of_case("gone")])
    found = document(capsys, "check", code=1)
    assert [(CASE, "stale"), (CASE, "stale"), ("gone-cpu-48MiB-1", "orphaned")] == [
        (one["case"], one["status"]) for one in found["findings"]
    ]
    assert (1, 0, True) == (found["num_cases"], found["num_ok"], found["lock_exists"])


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (["show", "nett"], "input", "holds no profile of nett"),
        (["show"], "usage", "the following arguments are required: CASE"),
        (["show", CASE, "--nonsense"], "usage", "unrecognized arguments: --nonsense"),
        (["nonsense"], "usage", "invalid choice: 'nonsense'"),
        (["check", "--matrix", "absent.yaml"], "matrix", "absent.yaml:1: cannot be read"),
        (["diff", "broken.lock", "broken.lock"], "lock", "broken.lock:1: "),
    ],
)
def test_trouble_is_a_document_too(
    lock: Path, capsys: Output, arguments: list[str], kind: str, message: str
) -> None:
    """Where there is no answer the document has the reason, and the exit code is 2."""
    Path("broken.lock").write_text("version = 7\n", encoding="utf-8")
    told = document(capsys, *arguments, code=2, kind="error")
    verb = None if arguments == ["nonsense"] else arguments[0]
    assert (1, verb, kind) == (told["version"], told["verb"], told["error"]["kind"])
    assert message in told["error"]["message"]


def test_interruption_is_a_document_too(
    lock: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """After Ctrl-C a script reads that there was one."""

    def interrupted(_path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(harness.cli.lockfile, "read_lock", interrupted)
    told = document(capsys, "show", CASE, code=130, kind="error")
    assert "interrupted" == told["error"]["kind"]


def test_hostile_text_is_escaped_as_json_does(lock: Path, capsys: Output) -> None:
    """Nothing in a name steers a terminal or a CI system, and a reader gets the name itself."""
    update_lock(lock, [of_case(lr_refusal=HOSTILE, learning_rate=None, learning_rates=())])
    assert 0 == main(["show", CASE, "--json"])
    printed = capsys.readouterr().out
    assert_harmless(printed)
    assert HOSTILE == json.loads(printed)["profiles"][0]["lr_refusal"]
