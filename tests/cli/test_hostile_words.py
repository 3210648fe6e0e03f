"""What the verbs print of a lockfile is harmless, whatever stands in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_line import CASE, CPU, Output, of_case
from hostile_words import HOSTILE, assert_harmless

import harness
from harness.cli.command_line import main
from harness.lockfile.profiles import Lock, LockedProfile, read_lock
from harness.lockfile.render import render


def hostile(word: str = HOSTILE, **changes: Any) -> LockedProfile:
    """Make a profile with hostile words wherever a lockfile may hold words."""
    table = {word: word, f"{word}.x": 3}
    values: dict[str, Any] = {
        "learning_rate": None,
        "learning_rates": (),
        "lr_refusal": word,
        "fingerprint": word,
        "recipe": f"sha256:{word}",
        "workload": table,
        "settings": table | {"a list": [word, 1]},
        "made_with": {word: word, "torch": word},
        "predicted_with": {word: word, "torch": word},
        "predicted_peak": {word: 3},
        "memory": {word: 3, f"activation of {word}": 1 << 62, f"{word} of a\nb": 0},
        "memory_per_sample": {f"activation of {word}": 1 << 62},
    }
    unknown = {word: word, "unknown": {word: [word, {word: word}]}, "device": {word: word}}
    return replace(of_case(**values | changes), extra=unknown)


@pytest.fixture
def locks(lock: Path) -> list[str]:
    """Write two hostile lockfiles that differ in everything, the first as the project's."""
    other = lock.with_name("other.lock")
    for path, word in ((lock, HOSTILE), (other, HOSTILE + "2")):
        profiles = (
            hostile(word),
            hostile(word, resolution=2),
            hostile(word, model=f"only-{path.stem}"),
        )
        text = render(Lock(path, profiles, extra={word: word, "table": {word: word}}))
        path.write_text(text, encoding="utf-8")
    return [str(lock), str(other)]


FIELDS = [
    "learning_rate",
    "fingerprint",
    "lr_refusal",
    "workload",
    HOSTILE,
    f"workload.{HOSTILE}",
    "unknown",
    "no such",
]


def test_no_verb_prints_what_is_obeyed(locks: list[str], capsys: Output) -> None:
    """show, each field, diff, a conflict, prune and the errors of all of them."""
    base = Path(locks[0]).with_name("base.lock")
    base.write_text(render(Lock(base, (of_case(),))), encoding="utf-8")
    asked = [
        ["show", CASE],
        ["show", CASE, "--memory"],
        *(["show", CASE, "--field", name] for name in FIELDS),
        ["show", HOSTILE],
        ["diff", *locks],
        ["diff", locks[1], locks[0]],
        ["diff", HOSTILE, locks[0]],
        ["merge", locks[1], "--base", str(base)],
        ["merge", locks[1]],
        ["prune", "--dry-run"],
        ["prune"],
        ["show", CASE, "--lock", HOSTILE],
    ]
    for arguments in asked:
        assert main(arguments) in (0, 1, 2)
        said = capsys.readouterr()
        assert said.out + said.err, arguments
        assert_harmless(said.out)
        assert_harmless(said.err)


def test_wrong_arguments_are_told_harmlessly(capsys: Output) -> None:
    """A shell's pattern puts names of files on the command line."""
    for arguments in ([HOSTILE], ["diff", "a", "b", HOSTILE], ["show", CASE, f"--{HOSTILE}"]):
        assert 2 == main(arguments)
        assert_harmless(capsys.readouterr().err)


def test_what_show_prints_is_the_profile(locks: list[str], capsys: Output) -> None:
    """The escapes are TOML's: what is printed can be read again, and says the same."""
    assert 0 == main(["show", CASE])
    again = Path("again.lock")
    again.write_text(capsys.readouterr().out, encoding="utf-8")
    assert read_lock(locks[0]).of_case(CASE) == read_lock(again).of_case(CASE)


def test_unknown_keys_of_a_lock_are_in_the_diff(lock: Path, capsys: Output) -> None:
    """A key that this version does not know is no less a change."""
    newer = lock.with_name("newer.lock")
    newer.write_text("note = 3\n" + lock.read_text(encoding="utf-8"), encoding="utf-8")
    assert 1 == main(["diff", str(lock), str(newer)])
    assert [
        "keys that this gpu-profile does not know",
        "  note  none -> 3",
    ] == capsys.readouterr().out.splitlines()


def test_unknown_key_hides_no_value_of_a_table(lock: Path, capsys: Output) -> None:
    """A quoted key that looks like a place in a table is another one."""
    theirs = lock.with_name("theirs.lock")
    text = lock.read_text(encoding="utf-8")
    text = text.replace("num_parameters = 11181642", "num_parameters = 5")
    theirs.write_text(
        text.replace("recipe =", '"workload.num_parameters" = 11181642\nrecipe ='), encoding="utf-8"
    )
    assert 1 == main(["diff", str(lock), str(theirs)])
    assert [
        f"{CASE} on cpu, 48.0 MiB",
        "  workload.num_parameters    11181642 -> 5  -100.0%",
        '  "workload.num_parameters"  none -> 11181642',
    ] == capsys.readouterr().out.splitlines()
    assert 0 == main(["show", CASE, "--field", "workload.num_parameters", "--lock", str(theirs)])
    assert "5\n" == capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": HOSTILE}, "model is 'a"),
        ({"model": "a b"}, "model is 'a b'; a label"),
        ({"model": "m" * 300}, "an id of over 200 characters"),
        ({"device": replace(CPU, name="cpu\u202e")}, "device.name is "),
        ({"device": replace(CPU, name="c" * 300)}, "a name of up to 200 visible characters"),
    ],
)
def test_names_in_a_lock_are_of_the_form_of_the_matrix(
    lock: Path, capsys: Output, changes: dict[str, Any], reason: str
) -> None:
    """They become test ids and folders, and are printed everywhere: others are refused."""
    lock.write_text(render(Lock(lock, (of_case(**changes),))), encoding="utf-8")
    assert 2 == main(["show", CASE])
    said = capsys.readouterr().err
    assert reason in said
    assert_harmless(said)


def test_training_gets_harmless_messages(locks: list[str]) -> None:
    """The message of load_profile lists what is locked, and goes to the log of a training."""
    for arguments in ({"model": HOSTILE}, {"model": "net"}, {"model": "net", "gpu": HOSTILE}):
        with pytest.raises(harness.HarnessError) as caught:
            harness.load_profile(**arguments, lock=locks[0])
        assert_harmless(str(caught.value))
    with pytest.raises(harness.HarnessError) as refused:
        harness.load_profile("net", lock=HOSTILE.replace("\x00", "") + "/x")
    assert_harmless(str(refused.value))
