"""Damaged lockfiles: each reader names the line and fails, and no writer changes the file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command_line import CASE, Output, configure, of_case
from lock_texts import EXAMPLE
from measurements import locked

import harness
from harness.cli.command_line import main
from harness.lockfile.profiles import Lock, parse_lock
from harness.lockfile.render import render
from harness.lockfile.toml_text import LockError, LockText

if TYPE_CHECKING:
    from projects import Project

SOUND = render(Lock(Path("x"), (of_case(), of_case(resolution=2))))
BLOCK = SOUND.split("[[profile]]")[1]
NAME = "profiles/gpu-profile.lock"


def damaged(old: str, new: str) -> bytes:
    """Return the sound lockfile with one passage replaced."""
    assert old in SOUND
    return SOUND.replace(old, new, 1).encode()


def line_of(data: bytes, part: bytes) -> int:
    """Return the number of the first line that holds `part`."""
    return data[: data.index(part)].count(b"\n") + 1


CONFLICT = damaged(
    "batch_size = 3328", "<<<<<<< HEAD\nbatch_size = 3328\n=======\nbatch_size = 3\n>>>>>>> main"
)
NOT_TOML = damaged("batch_size = 3328", "batch_size = 3328 samples")
WRONG = damaged("batch_size = 3328", "batch_size = true")
MISSING = damaged("max_batch_size = 3712\n", "")
TWICE = f"{SOUND}\n[[profile]]{BLOCK}".encode()
CUT = SOUND.encode()[: SOUND.index("3712") + 2]
FAULTS: dict[str, tuple[bytes, int, str]] = {
    "conflict": (
        CONFLICT,
        line_of(CONFLICT, b"<<<"),
        "a merge conflict is not resolved (<<<<<<< HEAD)",
    ),
    "newer": (
        damaged("version = 1", "version = 2"),
        1,
        "version 2 is newer than version 1, which this gpu-profile reads",
    ),
    "empty": (b"", 1, "no version"),
    "not TOML": (NOT_TOML, line_of(NOT_TOML, b"samples"), "not TOML: "),
    "not UTF-8": (SOUND.encode("utf-16"), 1, "not UTF-8"),
    "wrong value": (WRONG, line_of(WRONG, b"= true\nmax"), f"profile {CASE}: batch_size is true"),
    "missing value": (MISSING, 3, f"profile {CASE}: max_batch_size is missing"),
    "twice": (TWICE, SOUND.count("\n") + 2, "is locked twice, first on line 3"),
    "cut off": (CUT, CUT.count(b"\n") + 1, "the last line has no line break"),
}
VERBS = {
    "check": ["check"],
    "show": ["show", CASE],
    "diff": ["diff", NAME, NAME],
    "prune": ["prune"],
    "prune --dry-run": ["prune", "--dry-run"],
    "probe": ["probe", CASE, "--batch-size", "1"],
    "merge into it": ["merge", "sound.lock"],
    "merge it": ["merge", NAME, "--lock", "sound.lock"],
    "merge from it": ["merge", "sound.lock", "--lock", "sound.lock", "--base", NAME],
}


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "empty"])
def test_every_verb_tells_the_line_and_leaves_the_file(
    lock: Path, capsys: Output, fault: str
) -> None:
    """Each verb exits with 2, prints one line with the fault and its place, and changes no byte."""
    data, line, message = FAULTS[fault]
    sound = lock.parents[1] / "sound.lock"
    sound.write_text(SOUND, encoding="utf-8")
    for verb, arguments in VERBS.items():
        lock.write_bytes(data)
        code = main(arguments)
        printed = capsys.readouterr()
        assert (verb, 2, "") == (verb, code, printed.out)
        assert printed.err.startswith(f"gpu-profile: {NAME}:{line}: ")
        assert message in printed.err
        assert 1 == len(printed.err.splitlines())
        assert (data, SOUND) == (lock.read_bytes(), sound.read_text(encoding="utf-8"))
    assert not (lock.parents[1] / ".gpu-profile").exists()


def test_an_empty_lock_is_no_lock_but_git_has_it_as_a_base(lock: Path, capsys: Output) -> None:
    """An empty lockfile is refused, except as the base of a merge.

    git gives an empty base for two branches that both add the file.
    """
    lock.write_bytes(b"")
    (lock.parents[1] / "sound.lock").write_text(SOUND, encoding="utf-8")
    told = {verb: main(arguments) for verb, arguments in VERBS.items() if verb != "probe"}
    assert {verb: 0 if verb == "merge from it" else 2 for verb in told} == told
    assert f"{NAME}:1: no version" in capsys.readouterr().err
    assert b"" == lock.read_bytes()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_ends_before_anything_is_measured(project: Project, fault: str) -> None:
    """A damaged lockfile is a usage error, and an update does not overwrite it."""
    data, line, message = FAULTS[fault]
    project.lock.write_bytes(data)
    result = project.run("--gpu-profile", "--gpu-profile-update")
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    assert f"{NAME}:{line}: " in result.stderr.str()
    assert message in result.stderr.str()
    assert "Traceback" not in result.stderr.str()
    assert data == project.lock.read_bytes()
    assert not project.results.exists()


@pytest.mark.parametrize("arguments", [["--gpu-profile"], ["--gpu-profile", "--collect-only"]])
def test_a_run_that_only_looks_tells_it_too(project: Project, arguments: list[str]) -> None:
    """A run without an update, or one that only collects, also refuses a damaged lockfile."""
    project.lock.write_bytes(CONFLICT)
    result = project.run(*arguments)
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stderr.fnmatch_lines([f"*{NAME}:{FAULTS['conflict'][1]}: a merge conflict*"])


def test_tests_without_profiles_do_not_mind(project: Project) -> None:
    """A run without `--gpu-profile` ignores a damaged lockfile."""
    project.lock.write_bytes(CONFLICT)
    project.run().assert_outcomes(passed=1, deselected=1)


@pytest.mark.parametrize("fault", FAULTS)
def test_training_is_told_the_line(lock: Path, fault: str) -> None:
    """`load_profile` refuses a damaged lockfile, even if the requested profile is sound."""
    data, line, message = FAULTS[fault]
    lock.write_bytes(data)
    with pytest.raises(LockError) as caught:
        harness.load_profile("net", resolution=2, gpu="cpu-48MiB")
    assert str(caught.value).startswith(f"{NAME}:{line}: ")
    assert message in str(caught.value)
    assert data == lock.read_bytes()


def test_a_missing_lock_is_made_by_no_verb(lock: Path, capsys: Output) -> None:
    """Without a lockfile `check` exits with 1 and other verbs with 2; none makes the file."""
    lock.unlink()
    codes = {
        name: main(VERBS[name])
        for name in ("check", "show", "diff", "prune", "prune --dry-run", "merge it")
    }
    assert {
        "check": 1,
        "show": 2,
        "diff": 2,
        "prune": 2,
        "prune --dry-run": 2,
        "merge it": 2,
    } == codes
    assert 5 == capsys.readouterr().err.count(f"gpu-profile: {NAME} does not exist")
    assert not lock.exists()


def test_a_lock_cut_off_anywhere_loses_no_value_in_silence() -> None:
    """A cut at any byte gives an error at a remaining line, or whole profiles.

    Only the descriptive tables of a profile may be shorter.
    """
    text = render(Lock(Path("x"), (locked(), locked(model="vit"))))
    whole = parse_lock(LockText(Path("x"), text)).profiles
    described: dict[str, Any] = {"workload": {}, "settings": {}, "made_with": {}}
    read = 0
    for end in range(len(text)):
        part = text[:end]
        try:
            profiles = parse_lock(LockText(Path("x.lock"), part)).profiles
        except LockError as error:
            found = re.match(r"x\.lock:(\d+): ", str(error).removeprefix(str(Path.cwd()) + "/"))
            assert found
            assert int(found[1]) <= part.count("\n") + 1
        else:
            read += 1
            assert part.endswith("\n")
            bare = [replace(profile, **described) for profile in profiles]
            assert [replace(profile, **described) for profile in whole[: len(profiles)]] == bare
    assert 0 < read < 50


def test_a_lock_elsewhere_is_told_by_its_path(project: Project, lock: Path, capsys: Output) -> None:
    """The message names the lockfile of the ini key."""
    configure(project, "gpu_profile_lock = locks/team.lock")
    (project.path / "locks").mkdir()
    (project.path / "locks" / "team.lock").write_text(
        EXAMPLE.replace("3328", "-1"), encoding="utf-8"
    )
    assert 2 == main(["show", CASE])
    assert capsys.readouterr().err.startswith(
        "gpu-profile: locks/team.lock:7: profile resnet18-h200-224: batch_size is -1"
    )
