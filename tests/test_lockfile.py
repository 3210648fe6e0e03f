"""Reading a lockfile: what it holds, and where exactly it is damaged."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import A100, H200, locked, measurement

from harness.lock_writing import render
from harness.lockfile import Lock, LockedProfile, LockError, read_lock
from harness.measurement import DeviceIdentity

# The example of the documentation, as a user would have it.
EXAMPLE = """\
version = 1

[[profile]]
model = "resnet18"
gpu = "h200"
resolution = 224
batch_size = 3328
max_batch_size = 3712
validation_batch_size = 8192
bounded_by = "memory"
learning_rate = 0.00316
learning_rates = [0.0031, 0.00316, 0.0034]
peak_memory_bytes = 125876543488
memory_limit_bytes = 135711850905
samples_per_second = 10340.0
fingerprint = "sha256:f1"
recipe = "sha256:r1"

[profile.device]
name = "NVIDIA H200"
memory_bytes = 150754820096

[profile.made_with]
torch = "2.11.0"
cuda = "13.0"
driver = "580.159.03"
lightning = "2.6.6"
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name a lockfile in the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "gpu-profile.lock"


def refusal(path: Path, text: str | bytes) -> str:
    """Write a file and return the message with which it is refused."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(LockError) as caught:
        read_lock(path)
    return str(caught.value)


def line_of(text: str, part: str) -> int:
    """Return the number of the first line that holds `part`."""
    return next(number for number, line in enumerate(text.split("\n"), 1) if part in line)


def test_reads_every_field_of_the_example(path: Path) -> None:
    """The documented example is the profile it says."""
    path.write_text(EXAMPLE, encoding="utf-8")
    assert [locked(workload={}, settings={})] == list(read_lock(path))


def test_missing_file_is_an_empty_lock(path: Path) -> None:
    """No lockfile is no error: nothing is locked yet."""
    assert Lock(path, (), exists=False) == read_lock(path)


def test_lock_without_profiles_exists(path: Path) -> None:
    """A file that holds its version alone is an existing, empty lock."""
    path.write_text("version = 1\n", encoding="utf-8")
    lock = read_lock(path)
    assert (lock.exists, len(lock)) == (True, 0)


def test_byte_order_mark_and_crlf_are_read(path: Path) -> None:
    """What an editor of another system adds does no harm."""
    path.write_bytes(b"\xef\xbb\xbf" + EXAMPLE.replace("\n", "\r\n").encode())
    assert [locked(workload={}, settings={})] == list(read_lock(path))


def test_only_a_profile_that_has_them_reads_optional_values(path: Path) -> None:
    """What a block leaves out is None or empty, and false for `emulated`."""
    dropped = (
        "validation",
        "learning",
        "peak",
        "samples",
        "[profile.made",
        "torch",
        "cuda",
        "driver",
        "light",
    )
    path.write_text("\n".join(x for x in EXAMPLE.split("\n") if not x.startswith(dropped)), encoding="utf-8")
    expected = locked(
        workload={},
        settings={},
        made_with={},
        validation_batch_size=None,
        learning_rate=None,
        learning_rates=(),
        peak_memory_bytes=None,
        samples_per_second=None,
    )
    assert [expected] == list(read_lock(path))


def test_unknown_keys_are_kept(path: Path) -> None:
    """A key of a newer harness is no error, and is there to be written back."""
    text = EXAMPLE.replace('recipe = "sha256:r1"', 'recipe = "sha256:r1"\npredicted_batch_size = 3500')
    text = text.replace('name = "NVIDIA H200"', 'name = "NVIDIA H200"\ncompute_capability = "9.0"')
    path.write_text("generator = 'x'\n" + text, encoding="utf-8")
    lock = read_lock(path)
    assert lock.extra == {"generator": "x"}
    assert lock.profiles[0].extra == {"predicted_batch_size": 3500, "device": {"compute_capability": "9.0"}}


def test_further_axes_follow_the_main_ones() -> None:
    """A further axis ends the case id, in the matrix' order."""
    axes = {"model": "vit", "gpu": "h200", "resolution": 224, "precision": "16-mixed", "compile": True}
    assert LockedProfile.from_measurement(measurement(axes=axes)).case_id == "vit-h200-224-16-mixed-true"


@pytest.mark.parametrize(
    ("device", "found"),
    [
        (H200, True),
        (DeviceIdentity("NVIDIA H200", int(H200.memory_bytes * 0.991)), True),
        (DeviceIdentity("NVIDIA H200", int(H200.memory_bytes * 0.989)), False),
        (DeviceIdentity("NVIDIA H200 NVL", H200.memory_bytes), False),
    ],
)
def test_find_matches_the_device(device: DeviceIdentity, *, found: bool) -> None:
    """A profile is of a device with the same name and, within 1%, the same memory."""
    profile = locked()
    lock = Lock(Path("x"), (profile,))
    assert (profile if found else None) == lock.find(profile.axes, device)


def test_find_tells_axes_apart() -> None:
    """A case that is not locked is not found, whatever the device."""
    assert Lock(Path("x"), (locked(),)).find({"model": "resnet18", "gpu": "h200", "resolution": 288}) is None


def test_find_without_device_refuses_to_choose(path: Path) -> None:
    """A case that was locked on two devices needs the device named."""
    lock = Lock(path, (locked(), locked(device=DeviceIdentity("NVIDIA H200 NVL", 1))))
    with pytest.raises(
        LockError, match=r"gpu-profile.lock: resnet18-h200-224 is locked on several devices: .*NVL"
    ):
        lock.find(locked().axes)


def test_find_without_device_returns_the_only_profile() -> None:
    """The case alone is enough where it was locked once."""
    profile = locked()
    assert profile == Lock(Path("x"), (profile, locked(gpu="a100", device=A100))).find(profile.axes)


CONFLICT = EXAMPLE.replace(
    "batch_size = 3328\n", "<<<<<<< HEAD\nbatch_size = 3328\n=======\nbatch_size = 3000\n>>>>>>> main\n", 1
)


def test_conflict_names_its_line_and_the_ways_out(path: Path) -> None:
    """A merge conflict is told as one, at its first marker, with the commands that end it."""
    message = refusal(path, CONFLICT)
    assert message.startswith("gpu-profile.lock:7: a merge conflict is not resolved (<<<<<<< HEAD)")
    assert "git checkout --theirs gpu-profile.lock" in message
    assert "pytest --gpu-profile --gpu-profile-update" in message


@pytest.mark.parametrize("marker", ["<<<<<<< ours", "||||||| base", "=======", ">>>>>>> theirs"])
def test_each_marker_left_behind_is_a_conflict(path: Path, marker: str) -> None:
    """Half-resolved conflicts are told as well."""
    message = refusal(path, f"version = 1\n{marker}\n")
    assert message.startswith("gpu-profile.lock:2: a merge conflict")


def test_several_conflicts_are_counted(path: Path) -> None:
    """The user knows that the first one is not the last."""
    assert "the first of 2" in refusal(path, CONFLICT + CONFLICT)


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("version = 2", "version 2 is newer than the 1 that this harness reads: upgrade"),
        ("version = 0", "version 0 is not known"),
        ('version = "1"', "version '1' is not known"),
        ("version = true", "version True is not known"),
        ("", "no version"),
    ],
)
def test_other_versions_are_refused(path: Path, version: str, reason: str) -> None:
    """Only version 1 is read, and a newer one asks for an upgrade."""
    message = refusal(path, EXAMPLE.replace("version = 1", version))
    assert message.startswith("gpu-profile.lock:1: ")
    assert reason in message


def test_empty_file_is_refused(path: Path) -> None:
    """A file that a crash left empty is no lock without profiles."""
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
    """What is no TOML is told with TOML's own reason, at the line."""
    assert refusal(path, text).startswith(f"gpu-profile.lock:{line}: not TOML: ")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("version = 1\nx = " + "[" * 100_000, "deep"),
        ("version = 1\nx = " + "[" * 40 + "]" * 40, "nests too deeply"),
        ("version = 1\nx." + ".".join("a" * 2_000) + " = 1", "nests too deeply"),
        ("version = 1\nx = " + "9" * 5_000, "not TOML"),
        ("version = 1\nprofile = 3", "list of tables"),
        ("version = 1\nprofile = [1]", "list of tables"),
        ("version = 1\n[profile]\nmodel = 'x'", "list of tables"),
    ],
    ids=["nested lists", "40 lists", "dotted key", "huge integer", "no list", "no tables", "one table"],
)
def test_hostile_toml_is_an_error_of_its_own(path: Path, text: str, reason: str) -> None:
    """No file ends the interpreter's recursion, or gets past the reader in another shape."""
    assert reason in refusal(path, text)


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
        ("learning_rate = 0.00316", "learning_rate = nan", "learning_rate = nan", "learning_rate is nan"),
        ("learning_rate = 0.00316", "learning_rate = -1.0", "learning_rate = -1", "a number above 0"),
        ("learning_rate = 0.00316", f"learning_rate = {10**400}", "learning_rate = 1", "a number above 0"),
        ("[0.0031,", '["a",', "learning_rates =", "learning_rates is 'a'"),
        ("[0.0031, 0.00316, 0.0034]", "1", "learning_rates = 1", "learning_rates is 1; a list of numbers"),
        ('"memory"', '"magic"', "bounded_by", "bounded_by is 'magic'; one of memory, cap"),
        ('"sha256:f1"', '""', "fingerprint", "fingerprint is ''; a text in quotes"),
        ('model = "resnet18"', "", "[[profile]]", "model is missing"),
        ("resolution = 224", "resolution = [1]", "resolution", "resolution is [1]"),
        ("resolution = 224", "", "[[profile]]", "resolution is missing"),
        ("memory_bytes = 1507", "memory_bytes = -1507", "memory_bytes = -", "device.memory_bytes is -1507"),
        ('name = "NVIDIA H200"\n', "", "[profile.device]", "device.name is missing"),
        ('torch = "2.11.0"', "torch = 2.11", "torch =", "made_with.torch is 2.11; a text in quotes"),
        ("resolution = 224", "resolution = 224\nemulated = 1", "emulated", "emulated is 1; true or false"),
        ("resolution = 224", "resolution = 224\nworkload = 1", "workload", "a table [profile.workload]"),
    ],
)
def test_damage_names_line_case_key_and_what_is_allowed(
    path: Path, old: str, new: str, at: str, problem: str
) -> None:
    """A value of another kind is refused at its line; a missing one at the header of its table."""
    text = EXAMPLE.replace(old, new, 1)
    message = refusal(path, text)
    assert message.startswith(f"gpu-profile.lock:{line_of(text, at)}: profile ")
    assert problem in message


def test_damage_in_a_later_block_names_that_block(path: Path) -> None:
    """Lines are counted in the block that is damaged, not in the first that has the key."""
    second = EXAMPLE.removeprefix("version = 1\n").replace("resnet18", "vit").replace("= 3712", "= false")
    text = EXAMPLE + second
    line = next(n for n, line in enumerate(text.split("\n"), 1) if line == "max_batch_size = false")
    assert refusal(path, text).startswith(f"gpu-profile.lock:{line}: profile vit-h200-224: ")


def test_damage_without_headers_still_names_the_case(path: Path) -> None:
    """A lock that was rewritten with inline tables is judged without lines."""
    message = refusal(path, 'version = 1\nprofile = [{model = "a", gpu = "b", resolution = 3}]\n')
    assert message.startswith("gpu-profile.lock: profile a-b-3: device is missing")


def test_same_case_and_device_twice_names_both_lines(path: Path) -> None:
    """A merge that kept both sides is told with the line of either."""
    text = EXAMPLE + EXAMPLE.removeprefix("version = 1\n").replace("= 150754820096", "= 150754820097")
    message = refusal(path, text)
    second = text.rindex("[[profile]]")
    assert message.startswith(f"gpu-profile.lock:{text.count(chr(10), 0, second) + 1}: ")
    assert "is locked twice, first on line 3" in message


def test_same_case_on_two_devices_is_fine(path: Path) -> None:
    """One label may stand for several products."""
    path.write_text(EXAMPLE + EXAMPLE.removeprefix("version = 1\n").replace("NVIDIA H200", "NVIDIA H200 NVL"))
    assert [profile.device.name for profile in read_lock(path)] == ["NVIDIA H200", "NVIDIA H200 NVL"]


def test_other_encodings_name_the_line(path: Path) -> None:
    """Bytes that are no UTF-8 are told with their line."""
    message = refusal(path, EXAMPLE.encode().replace(b"resnet18", b"resnet\xff"))
    assert message == "gpu-profile.lock:4: not UTF-8: restore the file from git"


def test_a_folder_is_refused(path: Path) -> None:
    """A folder in place of the file is told as such, with the file that was likely meant."""
    path.mkdir()
    with pytest.raises(LockError, match=r"gpu-profile\.lock: a folder; name the file in it"):
        read_lock(path)


def test_what_is_no_regular_file_is_refused() -> None:
    """A device or pipe is not read: it might never end."""
    with pytest.raises(LockError, match="/dev/zero: not a regular file"):
        read_lock("/dev/zero")


def test_a_file_in_place_of_the_folder_is_refused(path: Path) -> None:
    """What the operating system has against a path is handed on."""
    path.write_text("")
    with pytest.raises(LockError, match="cannot be read: Not a directory"):
        read_lock(path / "gpu-profile.lock")


@pytest.mark.parametrize("name", ["a\0b", "x" * 300])
def test_an_impossible_path_is_refused(path: Path, name: str) -> None:
    """A path that no file can have is an error of the lock, not a crash."""
    with pytest.raises(LockError, match="cannot be read"):
        read_lock(name)


def test_an_enormous_file_is_refused(path: Path) -> None:
    """A file that no lock can be is not read into memory."""
    with path.open("wb") as file:
        os.truncate(file.fileno(), 65 * 1024**2)
    with pytest.raises(LockError, match="larger than 64 MiB"):
        read_lock(path)


def test_a_path_elsewhere_is_shown_in_full(tmp_path: Path) -> None:
    """A message names a file outside of the working directory by its whole path."""
    path = tmp_path / "gpu-profile.lock"
    assert refusal(path, "").startswith(f"{path}:1: ")


def test_profiles_come_sorted(path: Path) -> None:
    """The order of the blocks in the file does not matter."""
    profiles = [locked(model="vit"), locked(resolution=32), locked(gpu="a100", device=A100), locked()]
    text = render(Lock(path, tuple(profiles)))
    head, *blocks = text.split("[[profile]]")
    path.write_text(head + "[[profile]]" + "\n[[profile]]".join(reversed(blocks)), encoding="utf-8")
    ids = [profile.case_id for profile in read_lock(path)]
    assert ids == ["resnet18-a100-224", "resnet18-h200-224", "resnet18-h200-32", "vit-h200-224"]


def test_nothing_that_does_not_train_can_be_locked() -> None:
    """A measurement without a batch that trains makes no profile."""
    with pytest.raises(AssertionError, match="nothing to lock"):
        LockedProfile.from_measurement(replace(measurement(), max_batch_size=0))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_gets_past_the_reader(path: Path, data: st.DataObject) -> None:
    """However a lockfile is cut, spliced or overwritten, it is read as a lock or refused as one."""
    text = EXAMPLE.encode()
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, len(text)))
    noise = st.sampled_from([b"nan", b"-1", b"[", b"'", b"{}", b"true", b"1979-05-27", b"[profile]", b"\n"])
    path.write_bytes(text[:start] + data.draw(noise | st.binary(max_size=8)) + text[stop:])
    try:
        result: Lock | str = read_lock(path)
    except LockError as error:
        result = str(error)
    assert isinstance(result, Lock) or result.startswith("gpu-profile.lock")
