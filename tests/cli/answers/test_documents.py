"""What the verbs print under `--json`: one document each, which their schema describes."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema  # type: ignore[import-untyped] # its types are published apart
import pytest
from command_line import CASE, Output, configure, of_case
from hostile_words import HOSTILE, assert_harmless
from json_documents import document

import harness
import harness.cli.lockfile
from harness.cli.answers.json_schema import output_schema, schema_text
from harness.cli.command_line import main
from harness.cli.doctor import CHECKS
from harness.cli.verbs import VERBS, Verb
from harness.lockfile.write import update_lock

if TYPE_CHECKING:
    from projects import Project

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


def test_prune_answers_with_what_it_removes(lock: Path, capsys: Output) -> None:
    """So does a dry run, which removes nothing."""
    update_lock(lock, [of_case("gone")])
    cpu = {"name": "cpu", "memory_bytes": 48 << 20, "count": 1}
    gone = [{"case": "gone-cpu-48MiB-1", "device": cpu}]
    for arguments, expected in ((["--dry-run"], gone), ([], gone), ([], [])):
        pruned = document(capsys, "prune", *arguments, code=0)
        assert (bool(arguments), expected) == (pruned["dry_run"], pruned["removed"])


def test_merge_answers_with_what_it_changes(lock: Path, capsys: Output) -> None:
    """The lockfile then holds it all, so there is nothing the second time."""
    other = lock.with_name("other.lock")
    other.write_bytes(lock.read_bytes())
    update_lock(other, [of_case("added")])
    for kinds in (["added"], []):
        merged = document(capsys, "merge", str(other), code=0)
        assert kinds == [one["kind"] for one in merged["differences"]]


def test_doctor_answers_with_each_finding(lock: Path, capsys: Output) -> None:
    """Each check has findings, and their levels are counted."""
    checked = document(capsys, "doctor", code=0)
    assert {name for name, _ in CHECKS} == {one["check"] for one in checked["findings"]}
    assert checked["num_ok"] == [one["level"] for one in checked["findings"]].count("ok")


def test_init_answers_with_what_it_found_and_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """The second time all files are kept."""
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(
        "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x): return x\n",
        encoding="utf-8",
    )
    files = {
        "profiles/matrix.yaml",
        "profiles/test_profiles.py",
        ".github/workflows/gpu-profile.yml",
    }
    first, second = (document(capsys, "init", code=0) for _ in range(2))
    assert [("nets.Net", "nets.py:2")] == [
        (one["class_path"], one["where"]) for one in first["found"]
    ]
    assert [(files, set()), (set(), files)] == [
        ({*one["wrote"]}, {*one["kept"]}) for one in (first, second)
    ]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_has_a_document(verb: Verb) -> None:
    """Whoever adds a verb types its answer, and its parser has the flag."""
    assert "verb" in output_schema()["$defs"][verb.name]["properties"]
    parser = argparse.ArgumentParser()
    verb.json(parser)
    assert parser.parse_args(["--json"]).json is True


def test_output_is_utf_8_whatever_the_locale_says(lock: Path) -> None:
    """A pipe to a program has JSON's encoding."""
    update_lock(lock, [of_case(lr_refusal="zu kurz für €", learning_rate=None, learning_rates=())])
    code = "import sys; from harness.cli.command_line import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "show", CASE, "--field", "lr_refusal", "--json"],
        env=os.environ | {"PYTHONIOENCODING": "latin-1", "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
    )
    assert "für €" in done.stdout.decode("utf-8")
    assert "zu kurz für €" == json.loads(done.stdout)["value"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_disk_without_space_for_the_document_is_told(lock: Path) -> None:
    """A script that keeps the document in a file learns that it is not there."""
    assert lock.exists()
    code = "import sys; from harness.cli.command_line import main; sys.exit(main())"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, "show", CASE, "--json"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    told = "gpu-profile: standard output cannot be written: No space left on device\n"
    assert (2, told) == (done.returncode, done.stderr)


def test_what_others_print_goes_to_standard_error(project: Project, lock: Path) -> None:
    """A plugin of pytest, or a program that it starts, cannot put a line before the document."""
    (project.path / "chatty.py").write_text(
        "import os\nprint('a plugin')\nos.system('echo a program')\n", encoding="utf-8"
    )
    configure(project, "addopts = -p chatty\npythonpath = .")
    code = "import sys; from harness.cli.command_line import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "check", "--json"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(project.path), *sys.path])},
        check=False,
        capture_output=True,
        text=True,
    )
    assert (1, "check") == (done.returncode, json.loads(done.stdout)["verb"])
    assert {"a plugin", "a program"} <= {*done.stderr.splitlines()}


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
