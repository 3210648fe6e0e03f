"""Reading a lockfile: its values, finding profiles, and files that are no lockfile."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from lock_texts import EXAMPLE, refusal
from measurements import A100, H200, locked, measurement

from harness.lockfile.profiles import Lock, LockedProfile, read_lock
from harness.lockfile.render import render
from harness.lockfile.toml_text import LockError
from harness.measurement import DeviceIdentity


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a lockfile in the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "gpu-profile.lock"


def test_reads_every_field_of_the_example(path: Path) -> None:
    """Every value of the documented example is read."""
    path.write_text(EXAMPLE, encoding="utf-8")
    assert [locked(workload={}, settings={})] == list(read_lock(path))


def test_missing_file_is_an_empty_lock(path: Path) -> None:
    """A missing lockfile is an empty lock, not an error."""
    assert Lock(path, (), exists=False) == read_lock(path)


def test_lock_without_profiles_exists(path: Path) -> None:
    """A file that holds only its version is an existing, empty lock."""
    path.write_text("version = 1\n", encoding="utf-8")
    lock = read_lock(path)
    assert (lock.exists, len(lock)) == (True, 0)


def test_byte_order_mark_and_crlf_are_read(path: Path) -> None:
    """A byte order mark and Windows line ends, which some editors write, do no harm."""
    path.write_bytes(b"\xef\xbb\xbf" + EXAMPLE.replace("\n", "\r\n").encode())
    assert [locked(workload={}, settings={})] == list(read_lock(path))


def test_only_a_profile_that_has_them_reads_optional_values(path: Path) -> None:
    """Values that a block leaves out are None or empty; `emulated` is false."""
    dropped = (
        "validation",
        "learning",
        "lr_horizon",
        "peak",
        "samples",
        "[profile.made",
        "torch",
        "cuda",
        "driver",
        "light",
    )
    path.write_text(
        "\n".join(x for x in EXAMPLE.split("\n") if not x.startswith(dropped)), encoding="utf-8"
    )
    expected = locked(
        workload={},
        settings={},
        made_with={},
        validation_batch_size=None,
        learning_rate=None,
        learning_rates=(),
        lr_horizon=None,
        peak_memory_bytes=None,
        samples_per_second=None,
    )
    assert [expected] == list(read_lock(path))


def test_a_learning_rate_without_a_range_is_read(path: Path) -> None:
    """A lock that was made before learning rates had a range is read."""
    kept = [x for x in EXAMPLE.split("\n") if not x.startswith(("learning_rate_range", "lr_ho"))]
    path.write_text("\n".join(kept), encoding="utf-8")
    (profile,) = read_lock(path)
    assert (0.00316, (), None) == (
        profile.learning_rate,
        profile.learning_rate_range,
        profile.lr_horizon,
    )


@pytest.mark.parametrize("end", [0, 1])
def test_a_learning_rate_at_an_end_of_its_range_is_read(path: Path, end: int) -> None:
    """The ends belong to the range."""
    rates = ["0.002107", "0.00474"]
    path.write_text(EXAMPLE.replace("0.00316\n", f"{rates[end]}\n"), encoding="utf-8")
    (profile,) = read_lock(path)
    assert profile.learning_rate == profile.learning_rate_range[end]


def test_unknown_keys_are_kept(path: Path) -> None:
    """An unknown key, which a newer version wrote, is no error and is kept for writing."""
    text = EXAMPLE.replace('recipe = "sha256:r1"', 'recipe = "sha256:r1"\nhyper_batch_size = 3500')
    text = text.replace('name = "NVIDIA H200"', 'name = "NVIDIA H200"\ncompute_capability = "9.0"')
    path.write_text("generator = 'x'\n" + text, encoding="utf-8")
    lock = read_lock(path)
    assert lock.extra == {"generator": "x"}
    assert lock.profiles[0].extra == {
        "hyper_batch_size": 3500,
        "device": {"compute_capability": "9.0"},
    }


def test_further_axes_follow_the_main_ones() -> None:
    """Further axes come last in the case id, in the order of the matrix."""
    axes = {
        "model": "vit",
        "gpu": "h200",
        "resolution": 224,
        "precision": "16-mixed",
        "compile": True,
    }
    assert (
        LockedProfile.from_measurement(measurement(axes=axes)).case_id
        == "vit-h200-224-16-mixed-true"
    )


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
    """A profile matches a device that has the same name and, within 1%, the same memory."""
    profile = locked()
    lock = Lock(Path("x"), (profile,))
    assert (profile if found else None) == lock.find(profile.axes, device)


def test_find_tells_axes_apart() -> None:
    """A case that is not locked is not found on any device."""
    assert (
        Lock(Path("x"), (locked(),)).find({"model": "resnet18", "gpu": "h200", "resolution": 288})
        is None
    )


def test_find_without_device_refuses_to_choose(path: Path) -> None:
    """Finding a case that is locked on two devices needs the device."""
    lock = Lock(path, (locked(), locked(device=DeviceIdentity("NVIDIA H200 NVL", 1))))
    with pytest.raises(
        LockError, match=r"gpu-profile.lock: resnet18-h200-224 is locked on several devices: .*NVL"
    ):
        lock.find(locked().axes)


def test_find_without_device_returns_the_only_profile() -> None:
    """Finding a case that is locked once needs no device."""
    profile = locked()
    assert profile == Lock(Path("x"), (profile, locked(gpu="a100", device=A100))).find(profile.axes)


def test_several_gpus_are_a_count_of_one_kind(path: Path) -> None:
    """One GPU has none in the file; another number is the same device, with another recipe."""
    several = DeviceIdentity(H200.name, H200.memory_bytes, 8)
    for device, text in ((H200, False), (several, True)):
        path.write_text(render(Lock(path, (locked(device=device),))), encoding="utf-8")
        assert text == ("count = 8" in path.read_text(encoding="utf-8"))
        (profile,) = read_lock(path).profiles
        assert (device, device.count) == (profile.device, profile.num_ranks)
    assert several.matches(H200)


def test_a_step_of_several_ranks_is_read(path: Path) -> None:
    """The global batch is that of all ranks."""
    device = DeviceIdentity(H200.name, H200.memory_bytes, 4)
    step = locked(device=device, accumulate_grad_batches=2, global_batch_size=8 * 3328)
    path.write_text(render(Lock(path, (step,))), encoding="utf-8")
    assert (step,) == read_lock(path).profiles
    wrong = replace(step, global_batch_size=2 * 3328)
    path.write_text(render(Lock(path, (wrong,))), encoding="utf-8")
    with pytest.raises(LockError, match=r"accumulate_grad_batches, 2, times device.count, 4, is"):
        read_lock(path)


def test_same_case_on_two_devices_is_fine(path: Path) -> None:
    """A case may be locked on two devices, because one label may stand for several products."""
    path.write_text(
        EXAMPLE + EXAMPLE.removeprefix("version = 1\n").replace("NVIDIA H200", "NVIDIA H200 NVL")
    )
    assert [profile.device.name for profile in read_lock(path)] == [
        "NVIDIA H200",
        "NVIDIA H200 NVL",
    ]


def test_a_folder_is_refused(path: Path) -> None:
    """The error about a folder names the lockfile that is probably meant."""
    path.mkdir()
    with pytest.raises(LockError, match=r"gpu-profile\.lock: a folder; name the file in it"):
        read_lock(path)


def test_what_is_no_regular_file_is_refused() -> None:
    """A device or a pipe is not read, because it might never end."""
    with pytest.raises(LockError, match="/dev/zero: not a regular file"):
        read_lock("/dev/zero")


def test_a_file_in_place_of_the_folder_is_refused(path: Path) -> None:
    """The error about a path names the reason of the operating system."""
    path.write_text("")
    with pytest.raises(LockError, match="cannot be read: Not a directory"):
        read_lock(path / "gpu-profile.lock")


@pytest.mark.parametrize("name", ["a\0b", "x" * 300])
def test_an_impossible_path_is_refused(path: Path, name: str) -> None:
    """A path that no file can have is a LockError, not a crash."""
    with pytest.raises(LockError, match="cannot be read"):
        read_lock(name)


def test_an_enormous_file_is_refused(path: Path) -> None:
    """A file that is too large for a lock is not read into memory."""
    with path.open("wb") as file:
        os.truncate(file.fileno(), 25 * 1024**2)
    with pytest.raises(LockError, match="larger than 24 MiB"):
        read_lock(path)


def test_a_path_elsewhere_is_shown_in_full(tmp_path: Path) -> None:
    """A message names a file outside the working directory by its full path."""
    path = tmp_path / "gpu-profile.lock"
    assert refusal(path, "").startswith(f"{path}:1: ")


def test_profiles_come_sorted(path: Path) -> None:
    """Profiles are sorted, whatever the order of the blocks in the file."""
    profiles = [
        locked(model="vit"),
        locked(resolution=32),
        locked(gpu="a100", device=A100),
        locked(),
    ]
    text = render(Lock(path, tuple(profiles)))
    head, *blocks = text.split("[[profile]]")
    path.write_text(head + "[[profile]]" + "\n[[profile]]".join(reversed(blocks)), encoding="utf-8")
    ids = [profile.case_id for profile in read_lock(path)]
    assert ids == ["resnet18-a100-224", "resnet18-h200-224", "resnet18-h200-32", "vit-h200-224"]


def test_nothing_that_does_not_train_can_be_locked() -> None:
    """A measurement in which no batch trains makes no profile."""
    with pytest.raises(AssertionError, match="nothing to lock"):
        LockedProfile.from_measurement(replace(measurement(), max_batch_size=0))


def test_text_of_a_lock_in_use_is_not_parsed_again(path: Path, tmp_path: Path) -> None:
    """Its profiles are the same objects, also under another path; a changed text has new ones."""
    other = tmp_path / "copy.lock"
    for one in (path, other):
        one.write_text(EXAMPLE, encoding="utf-8")
    lock, copy = read_lock(path), read_lock(other)
    assert [path, other] == [lock.path, copy.path]
    assert lock.profiles[0] is read_lock(path).profiles[0] is copy.profiles[0]
    changed = EXAMPLE.replace("batch_size", "# Reviewed.\nbatch_size", 1)
    other.write_text(changed, encoding="utf-8")
    again = read_lock(other)
    assert [True, False] == [
        lock.profiles == again.profiles,
        lock.profiles[0] is again.profiles[0],
    ]
