"""Reading a damaged lockfile: the error names the exact place and the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lock_texts import EXAMPLE, line_of, refusal

from harness.lockfile.profiles import Lock, read_lock
from harness.lockfile.toml_text import LockError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a lockfile in the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "gpu-profile.lock"


CONFLICT = EXAMPLE.replace(
    "batch_size = 3328\n",
    "<<<<<<< HEAD\nbatch_size = 3328\n=======\nbatch_size = 3000\n>>>>>>> main\n",
    1,
)


def test_conflict_names_its_line_and_the_ways_out(path: Path) -> None:
    """A merge conflict is reported at its first marker, with the commands that resolve it."""
    message = refusal(path, CONFLICT)
    assert message.startswith("gpu-profile.lock:7: a merge conflict is not resolved (<<<<<<< HEAD)")
    assert "git checkout --theirs gpu-profile.lock" in message
    assert "pytest --gpu-profile --gpu-profile-update" in message


@pytest.mark.parametrize("marker", ["<<<<<<< ours", "||||||| base", "=======", ">>>>>>> theirs"])
def test_each_marker_left_behind_is_a_conflict(path: Path, marker: str) -> None:
    """A marker of a half-resolved conflict is reported as well."""
    message = refusal(path, f"version = 1\n{marker}\n")
    assert message.startswith("gpu-profile.lock:2: a merge conflict")


def test_several_conflicts_are_counted(path: Path) -> None:
    """The error at the first conflict says how many there are."""
    assert "the first of 2" in refusal(path, CONFLICT + CONFLICT)


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("version = 2", "version 2 is newer than version 1, which this gpu-profile reads: upgrade"),
        ("version = 0", "version 0 is not known"),
        ('version = "1"', "version '1' is not known"),
        ("version = true", "version True is not known"),
        ("", "no version"),
    ],
)
def test_other_versions_are_refused(path: Path, version: str, reason: str) -> None:
    """Only version 1 is read; the error about a newer one asks for an upgrade."""
    message = refusal(path, EXAMPLE.replace("version = 1", version))
    assert message.startswith("gpu-profile.lock:1: ")
    assert reason in message


def test_empty_file_is_refused(path: Path) -> None:
    """An empty file, which a crash may leave, is refused: it is no lock without profiles."""
    assert refusal(path, "").startswith("gpu-profile.lock:1: no version")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("version = 1\n[[profile]]\nmodel = \n", 3),
        ("version = 1\n[[profile]\n", 2),
        ("version = 1\nversion = 1\n", 2),
        ('version = 1\nx = "', 2),
    ],
)
def test_broken_toml_names_its_line(path: Path, text: str, line: int) -> None:
    """Text that is not TOML is reported at its line, with the reason of the TOML parser."""
    assert refusal(path, text).startswith(f"gpu-profile.lock:{line}: not TOML: ")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("version = 1\nx = " + "[" * 100_000, "deep"),
        ("version = 1\nx = " + "[" * 40 + "]" * 40, "nests too deeply"),
        ("version = 1\nx." + ".".join("a" * 2_000) + " = 1", "nests too deeply"),
        ("version = 1\nx = " + "9" * 5_000, "too many digits"),
        ("version = 1\nprofile = 3", "list of tables"),
        ("version = 1\nprofile = [1]", "list of tables"),
        ("version = 1\n[profile]\nmodel = 'x'", "list of tables"),
    ],
    ids=[
        "nested lists",
        "40 lists",
        "dotted key",
        "huge integer",
        "no list",
        "no tables",
        "one table",
    ],
)
def test_hostile_toml_is_an_error_of_its_own(path: Path, text: str, reason: str) -> None:
    """TOML that is too deep, or not a list of profiles, is refused with a reason of its own."""
    assert reason in refusal(path, text + "\n")


@pytest.mark.parametrize(
    ("old", "new", "at", "problem"),
    [
        (
            "batch_size = 3328\n",
            "batch_size = -3\n",
            "batch_size = -3",
            "batch_size is -3; a whole number from 1",
        ),
        ("batch_size = 3328\n", "batch_size = 0\n", "batch_size = 0", "batch_size is 0"),
        ("batch_size = 3328\n", "batch_size = 32.5\n", "batch_size = 32.5", "batch_size is 32.5"),
        ("batch_size = 3328\n", "batch_size = true\n", "batch_size = true", "batch_size is true"),
        ("batch_size = 3328\n", "batch_size = 9e999\n", "batch_size = 9e999", "batch_size is inf"),
        ("batch_size = 3328\n", f"batch_size = {2**63}\n", f"{2**63}", "a whole number from 1"),
        (
            "\nbatch_size = 3328\n",
            "\nbatch_size = 4000\n",
            "batch_size = 4000",
            "more than max_batch_size, 3712",
        ),
        ("max_batch_size = 3712\n", "", "[[profile]]", "max_batch_size is missing"),
        (
            "learning_rate = 0.00316",
            "learning_rate = nan",
            "learning_rate = nan",
            "learning_rate is nan",
        ),
        (
            "learning_rate = 0.00316",
            "learning_rate = -1.0",
            "learning_rate = -1",
            "a number above 0",
        ),
        (
            "learning_rate = 0.00316",
            f"learning_rate = {10**300}",
            "learning_rate = 1",
            "a number above 0",
        ),
        ("[0.0031,", '["a",', "learning_rates =", "learning_rates is 'a'"),
        (
            "[0.0031, 0.00316, 0.0034]",
            "1",
            "learning_rates = 1",
            "learning_rates is 1; a list of numbers",
        ),
        (
            "[0.002107, 0.00474]",
            "0.002107",
            "learning_rate_range",
            "learning_rate_range is 0.002107; a list of numbers",
        ),
        (
            "[0.002107, 0.00474]",
            "[0.002107, inf]",
            "learning_rate_range",
            "learning_rate_range is inf; a number above 0",
        ),
        (
            "[0.002107, 0.00474]",
            "[0.002107]",
            "learning_rate_range",
            "learning_rate_range is [0.002107]; the lowest and the highest learning rate",
        ),
        (
            "[0.002107, 0.00474]",
            "[0.001, 0.002107, 0.00474]",
            "learning_rate_range",
            "learning_rate_range is [0.001, 0.002107, 0.00474]; the lowest and",
        ),
        (
            "[0.002107, 0.00474]",
            "[0.00474, 0.002107]",
            "learning_rate_range",
            "learning_rate_range is [0.00474, 0.002107]; the lowest and the highest learning rate",
        ),
        (
            "[0.002107, 0.00474]",
            "[0.0032, 0.00474]",
            "learning_rate_range",
            "are needed, with learning_rate, 0.00316, between them",
        ),
        (
            "learning_rate = 0.00316\n",
            "",
            "learning_rate_range",
            "learning_rate_range has no learning_rate to be the range of",
        ),
        (
            "lr_horizon = 40",
            "lr_horizon = 0",
            "lr_horizon",
            "lr_horizon is 0; a whole number from 1",
        ),
        ('"memory"', '"magic"', "bounded_by", "bounded_by is 'magic'; one of memory, cap"),
        ('"sha256:f1"', '""', "fingerprint", "fingerprint is ''; a text in quotes"),
        ('model = "resnet18"', "", "[[profile]]", "model is missing"),
        ("resolution = 224", "resolution = [1]", "resolution", "resolution is [1]"),
        ("resolution = 224", "", "[[profile]]", "resolution is missing"),
        (
            "memory_bytes = 1507",
            "memory_bytes = -1507",
            "memory_bytes = -",
            "device.memory_bytes is -1507",
        ),
        ('name = "NVIDIA H200"\n', "", "[profile.device]", "device.name is missing"),
        (
            'torch = "2.11.0"',
            "torch = 2.11",
            "torch =",
            "made_with.torch is 2.11; a text in quotes",
        ),
        (
            "resolution = 224",
            "resolution = 224\nemulated = 1",
            "emulated",
            "emulated is 1; true or false",
        ),
        (
            "resolution = 224",
            "resolution = 224\nworkload = 1",
            "workload",
            "a table [profile.workload]",
        ),
    ],
)
def test_damage_names_line_case_key_and_what_is_allowed(
    path: Path, old: str, new: str, at: str, problem: str
) -> None:
    """A wrong value is reported at its line, a missing one at the header of its table."""
    text = EXAMPLE.replace(old, new, 1)
    message = refusal(path, text)
    assert message.startswith(f"gpu-profile.lock:{line_of(text, at)}: profile ")
    assert problem in message


def test_damage_in_a_later_block_names_that_block(path: Path) -> None:
    """The error names the line in the damaged block, not in the first block with that key."""
    second = (
        EXAMPLE.removeprefix("version = 1\n")
        .replace("resnet18", "vit")
        .replace("= 3712", "= false")
    )
    text = EXAMPLE + second
    line = next(n for n, line in enumerate(text.split("\n"), 1) if line == "max_batch_size = false")
    assert refusal(path, text).startswith(f"gpu-profile.lock:{line}: profile vit-h200-224: ")


def test_damage_without_headers_still_names_the_case(path: Path) -> None:
    """An error in inline tables names the line where they begin."""
    message = refusal(path, 'version = 1\nprofile = [{model = "a", gpu = "b", resolution = 3}]\n')
    assert message.startswith("gpu-profile.lock:2: profile a-b-3: device is missing")


def test_same_case_and_device_twice_names_both_lines(path: Path) -> None:
    """The error about two blocks of one case and device names both lines."""
    text = EXAMPLE + EXAMPLE.removeprefix("version = 1\n").replace(
        "= 150754820096", "= 150754820097"
    )
    message = refusal(path, text)
    second = text.rindex("[[profile]]")
    assert message.startswith(f"gpu-profile.lock:{text.count(chr(10), 0, second) + 1}: ")
    assert "is locked twice, first on line 3" in message


def test_other_encodings_name_the_line(path: Path) -> None:
    """Bytes that are not UTF-8 are reported with their line."""
    message = refusal(path, EXAMPLE.encode().replace(b"resnet18", b"resnet\xff"))
    assert message == "gpu-profile.lock:4: not UTF-8: restore the file from git"


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_damage_gets_past_the_reader(path: Path, data: st.DataObject) -> None:
    """Any cut, spliced or overwritten lockfile is either read or refused with a LockError."""
    text = EXAMPLE.encode()
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, len(text)))
    noise = st.sampled_from(
        [b"nan", b"-1", b"[", b"'", b"{}", b"true", b"1979-05-27", b"[profile]", b"\n"]
    )
    path.write_bytes(text[:start] + data.draw(noise | st.binary(max_size=8)) + text[stop:])
    try:
        result: Lock | str = read_lock(path)
    except LockError as error:
        result = str(error)
    assert isinstance(result, Lock) or result.startswith("gpu-profile.lock")


@pytest.mark.parametrize(
    "step",
    [
        "global_batch_size = 6655\naccumulate_grad_batches = 2\n",
        "global_batch_size = 6656\n",
        "accumulate_grad_batches = 2\n",
    ],
)
def test_step_that_does_not_hold_its_samples_is_refused(path: Path, step: str) -> None:
    """A global batch is the batch times the accumulation; anything else is damage."""
    message = refusal(path, EXAMPLE.replace("batch_size = 3328\n", f"batch_size = 3328\n{step}", 1))
    assert "batch_size, 3328, times accumulate_grad_batches" in message
