"""Writing a lockfile: what reaches it, in which form, and that nothing else is harmed."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import A100, CPU, H200, locked

from harness import lock_writing
from harness.lock_diff import Change, diff
from harness.lock_writing import prune, render, update_lock, write_candidate
from harness.lockfile import Lock, LockedProfile, LockError, read_lock
from harness.measurement import DeviceIdentity, Scalar

if TYPE_CHECKING:
    from collections.abc import Iterator

EVERYTHING = """\
version = 1

[[profile]]
model = "resnet18"
gpu = "h200"
resolution = 224
emulated = true
batch_size = 3328
max_batch_size = 3712
validation_batch_size = 8192
bounded_by = "memory"
learning_rate = 0.00316
learning_rates = [0.0031, 0.00316, 0.0034]
lr_refusal = "both cannot be, but both have a place"
peak_memory_bytes = 125876543488
memory_limit_bytes = 135711850905
samples_per_second = 10340.0
fingerprint = "sha256:f1"
recipe = "sha256:r1"

[profile.axes]
precision = "16-mixed"

[profile.device]
name = "NVIDIA H200"
memory_bytes = 150754820096

[profile.workload]
module = "zoo.Net"
num_parameters = 11181642
parameters = "sha256:p1"

[profile.settings]
"trainer.callbacks" = [
    "a",
    "b",
]
"trainer.precision" = "bf16-mixed"

[profile.made_with]
torch = "2.11.0"
cuda = "13.0"
driver = "580.159.03"
lightning = "2.6.6"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a lockfile in a folder of its own."""
    return tmp_path / "gpu-profile.lock"


def everything() -> LockedProfile:
    """Make the profile that has a value for every field."""
    profile = locked(
        emulated=True,
        lr_refusal="both cannot be, but both have a place",
        # In another order than the file's: equal profiles must give equal bytes.
        settings={"trainer.precision": "bf16-mixed", "trainer.callbacks": ["a", "b"]},
        made_with={"lightning": "2.6.6", "driver": "580.159.03", "torch": "2.11.0", "cuda": "13.0"},
    )
    return replace(profile, axes={**profile.axes, "precision": "16-mixed"})


@contextmanager
def unprivileged() -> Iterator[None]:
    """Give root's rights up for a while: root writes wherever it likes."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_writes_the_documented_form(path: Path) -> None:
    """The text is TOML as documented, byte for byte."""
    update_lock(path, [everything()])
    assert path.read_text(encoding="utf-8") == EVERYTHING


def test_reads_back_what_it_wrote(path: Path) -> None:
    """Nothing is lost on the way through the file."""
    update_lock(path, [everything()])
    assert list(read_lock(path)) == [everything()]


def test_what_there_is_not_is_not_written() -> None:
    """None, an empty list and an empty table leave no line behind."""
    profile = locked(
        learning_rate=None,
        learning_rates=(),
        validation_batch_size=None,
        peak_memory_bytes=None,
        samples_per_second=None,
        workload={},
        settings={},
        made_with={},
    )
    names = [line.split(" ")[0] for line in render(Lock(Path("x"), (profile,))).split("\n") if line]
    assert names == [
        "version",
        "[[profile]]",
        "model",
        "gpu",
        "resolution",
        "batch_size",
        "max_batch_size",
        "bounded_by",
        "memory_limit_bytes",
        "fingerprint",
        "recipe",
        "[profile.device]",
        "name",
        "memory_bytes",
    ]


def test_an_empty_lock_is_its_version() -> None:
    """A lock without profiles is one line, and reads as version 1."""
    assert render(Lock(Path("x"))) == "version = 1\n"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.00316227766, "0.003162"),
        (1e-6, "1e-06"),
        (10340.123, "10340.0"),
        (123456.0, "123500.0"),
        (1, "1.0"),
    ],
)
def test_measured_floats_have_four_significant_digits(value: float, written: str) -> None:
    """What jitters in the fifth digit does not make a diff."""
    text = render(Lock(Path("x"), (locked(learning_rate=value, learning_rates=(value, value)),)))
    assert f"learning_rate = {written}\nlearning_rates = [{written}, {written}]\n" in text


def test_floats_that_a_user_wrote_keep_their_digits() -> None:
    """Axes and settings are identities: rounding would make others of them."""
    profile = replace(
        locked(settings={"search.safety_factor": 0.123456}), axes={**locked().axes, "scale": 0.123456}
    )
    text = render(Lock(Path("x"), (profile,)))
    assert "scale = 0.123456\n" in text
    assert '"search.safety_factor" = 0.123456\n' in text


def test_update_replaces_only_the_same_case_and_device(path: Path) -> None:
    """Other cases, and the same case on other devices, stay as they were."""
    others = [locked(model="vit"), locked(resolution=32), locked(device=A100)]
    update_lock(path, [locked(), *others])
    fresh = locked(batch_size=3000, device=DeviceIdentity(H200.name, H200.memory_bytes + 1024**2))
    update_lock(path, [fresh])
    kept = set(map(repr, read_lock(path)))
    assert kept == set(map(repr, [fresh, *others]))


def test_update_with_nothing_changes_no_byte(path: Path) -> None:
    """A lock that this harness wrote survives a read and a write unchanged."""
    update_lock(path, [everything(), locked(model="vit"), locked(gpu="a100", device=A100)])
    before = path.read_bytes()
    update_lock(path, [])
    assert path.read_bytes() == before


def test_an_unchanged_lock_is_not_written_again(path: Path) -> None:
    """Build tools that look at times of modification see no change."""
    update_lock(path, [locked()])
    os.utime(path, ns=(1, 1))
    update_lock(path, [locked()])
    assert path.stat().st_mtime_ns == 1


def test_of_two_measurements_of_one_case_the_last_stays(path: Path) -> None:
    """A case that was measured twice in a run is locked once."""
    update_lock(path, [locked(), locked(batch_size=3000)])
    assert [profile.batch_size for profile in read_lock(path)] == [3000]


def test_unknown_keys_survive_an_update_of_other_cases(path: Path) -> None:
    """What a newer harness wrote goes through this one unharmed."""
    text = "note = 1\n" + EVERYTHING.replace('"sha256:r1"', '"sha256:r1"\npredicted = 5')
    text = text.replace("[profile.device]", '[profile.device]\nclass = "9.0"')
    path.write_text(text, encoding="utf-8")
    before = read_lock(path)
    update_lock(path, [locked(model="vit")])
    after = read_lock(path)
    assert (after.extra, after.profiles[0]) == ({"note": 1}, before.profiles[0])
    assert (after.profiles[0].extra) == {"device": {"class": "9.0"}, "predicted": 5}


@pytest.mark.parametrize("damage", ["version = 2\n", "<<<<<<< HEAD\n", "version = 1\n[[profile]]\n", "\xff"])
def test_a_damaged_file_is_never_overwritten(path: Path, damage: str) -> None:
    """An update of a file that cannot be read fails, and leaves it for the user to mend."""
    path.write_bytes(damage.encode("latin-1"))
    with pytest.raises(LockError):
        update_lock(path, [locked()])
    assert path.read_bytes() == damage.encode("latin-1")


def test_what_could_not_be_read_again_is_not_written(path: Path) -> None:
    """A value that the reader refuses does not reach the file, and costs no other profile."""
    update_lock(path, [locked()])
    before = path.read_bytes()
    with pytest.raises(
        LockError, match=r"not written, as it could not be read again: .*samples_per_second is nan"
    ):
        update_lock(path, [locked(model="vit", samples_per_second=float("nan"))])
    assert path.read_bytes() == before


def test_a_peak_or_limit_of_zero_survives(path: Path) -> None:
    """Memory that could not be told is written as it was reported."""
    update_lock(path, [locked(peak_memory_bytes=0, memory_limit_bytes=0)])
    assert list(read_lock(path)) == [locked(peak_memory_bytes=0, memory_limit_bytes=0)]


def test_nothing_is_left_beside_the_lockfile(path: Path) -> None:
    """`git status` shows the lockfile and nothing else, after success and failure."""
    update_lock(path, [locked()])
    with pytest.raises(TypeError):
        update_lock(path, [locked(model="vit", settings={"a": None})])
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208 - names alone are compared


@pytest.mark.parametrize("mode", [0o640, 0o664])
def test_an_update_keeps_the_mode(path: Path, mode: int) -> None:
    """The team's permissions outlive the replacement of the file."""
    update_lock(path, [locked()])
    path.chmod(mode)
    update_lock(path, [locked(batch_size=3000)])
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_lockfile_has_the_mode_of_any_new_file(path: Path) -> None:
    """The umask decides, not the temporary file's privacy."""
    other = path.with_name("other")
    other.touch()
    update_lock(path, [locked()])
    assert path.stat().st_mode == other.stat().st_mode


def test_a_link_is_written_through(path: Path) -> None:
    """A lockfile that is a link stays one; its target gets the values."""
    target = path.parent / "elsewhere" / "real.lock"
    target.parent.mkdir()
    path.symlink_to(target)
    update_lock(path, [locked()])
    update_lock(path, [locked(model="vit")])
    assert (path.is_symlink(), len(read_lock(target))) == (True, 2)


def test_a_read_only_file_is_refused(path: Path) -> None:
    """Whoever took the write bits off did so on purpose, even if the folder would allow a replacement."""
    update_lock(path, [locked()])
    path.chmod(0o444)
    with pytest.raises(LockError, match=r"gpu-profile\.lock: cannot be written: the file is read-only"):
        update_lock(path, [locked(batch_size=3000)])


def test_a_read_only_folder_is_refused() -> None:
    """A folder that takes no new file is told as such."""
    # Not tmp_path: only its owner may enter that.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        with unprivileged(), pytest.raises(LockError, match=r"cannot be written: the folder .* is read-only"):
            update_lock(Path(folder) / "gpu-profile.lock", [locked()])


def test_a_missing_folder_is_refused(path: Path) -> None:
    """A slip in a path makes no folders."""
    with pytest.raises(LockError, match=r"there is no folder .*nowhere; create it"):
        update_lock(path.parent / "nowhere" / path.name, [locked()])


def test_a_folder_in_its_place_is_refused(path: Path) -> None:
    """A lockfile cannot replace a folder."""
    path.mkdir()
    with pytest.raises(LockError, match="a folder"):
        update_lock(path, [locked()])


def test_runs_side_by_side_lose_nothing(path: Path) -> None:
    """Processes that update different cases at the same time all reach the file."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from making import locked\nfrom harness.lock_writing import update_lock\n"
        "for index in range(5): update_lock(sys.argv[2], [locked(model=f'{sys.argv[3]}{index}')])"
    )
    tests = str(Path(__file__).parent)
    runs = [
        subprocess.Popen([sys.executable, "-c", code, tests, str(path), name])
        for name in ("a", "b", "c", "d")
    ]
    assert [run.wait(60) for run in runs] == [0] * 4
    assert len(read_lock(path)) == 20


def test_a_killed_update_leaves_the_old_file(path: Path) -> None:
    """A process that dies before the replacement has changed nothing."""
    update_lock(path, [locked()])
    before = path.read_bytes()
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from making import locked\nfrom harness import lock_writing\n"
        "os.fsync = lambda descriptor: os.kill(os.getpid(), 9)\n"
        "lock_writing.update_lock(sys.argv[2], [locked(model='vit')])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(path)], check=False, timeout=60
    )
    assert (run.returncode, path.read_bytes()) == (-9, before)


def test_a_full_disk_leaves_the_old_file_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system has against writing is told; the old file stays, and nothing beside it."""
    update_lock(path, [locked()])
    before = path.read_bytes()

    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(LockError, match=r"gpu-profile\.lock: cannot be written: No space left on device"):
        update_lock(path, [locked(model="vit")])
    assert (path.read_bytes(), list(path.parent.iterdir())) == (before, [path])


def test_a_writer_that_never_ends_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits in vain learns for which file, and that nothing was written."""
    monkeypatch.setattr(lock_writing, "_WAIT_SECONDS", 0.05)
    with (
        lock_writing._writing(path),
        pytest.raises(LockError, match="another process has been writing it for"),
    ):
        update_lock(path, [locked()])
    assert not path.exists()


def test_the_candidate_is_the_lock_after_an_update(path: Path) -> None:
    """The candidate holds what an update would make of the lock, which stays as it is."""
    update_lock(path, [locked(), locked(model="vit")])
    before = path.read_bytes()
    candidate = path.with_name("candidate.lock")
    write_candidate(candidate, path, [locked(batch_size=3000)])
    assert path.read_bytes() == before
    update_lock(path, [locked(batch_size=3000)])
    assert candidate.read_bytes() == path.read_bytes()


def test_prune_keeps_the_cases_of_the_matrix(path: Path) -> None:
    """What is not in the matrix any more goes, on every device, and is named."""
    update_lock(path, [locked(), locked(device=A100), locked(model="vit"), locked(resolution=32)])
    removed = prune(path, {"vit-h200-224", "resnet18-h200-32"})
    assert [(profile.case_id, profile.device) for profile in removed] == [
        ("resnet18-h200-224", A100),
        ("resnet18-h200-224", H200),
    ]
    assert [profile.case_id for profile in read_lock(path)] == ["resnet18-h200-32", "vit-h200-224"]


def test_prune_of_a_missing_lock_makes_none(path: Path) -> None:
    """Where nothing is locked there is nothing to remove."""
    assert prune(path, set()) == ()
    assert not path.exists()


def test_diff_of_equal_locks_is_empty() -> None:
    """Digits that the file does not hold are no difference."""
    assert diff(Lock(Path("a"), (locked(),)), Lock(Path("b"), (locked(learning_rate=0.00316001),))) == []


def test_diff_names_added_removed_and_changed() -> None:
    """Each profile is compared with the one of the same case and device."""
    old = Lock(Path("a"), (locked(), locked(model="vit"), locked(gpu="cpu", device=CPU, emulated=True)))
    new = Lock(Path("b"), (locked(batch_size=3000), locked(model="vit"), locked(gpu="a100", device=A100)))
    assert [str(difference) for difference in diff(old, new)] == [
        "resnet18-a100-224 on NVIDIA A100-SXM4-40GB: added",
        "resnet18-cpu-224 on cpu: removed",
        "resnet18-h200-224 on NVIDIA H200: batch_size 3328 -> 3000 (-9.9%)",
    ]


def test_diff_reaches_into_tables() -> None:
    """Values below a table have dotted names, and None where there was none."""
    old = Lock(Path("a"), (locked(),))
    new = Lock(Path("b"), (locked(workload=locked().workload | {"num_parameters": 1}, lr_refusal="noise"),))
    (difference,) = diff(old, new)
    assert difference.changes == (
        Change("workload.num_parameters", 11181642, 1),
        Change("lr_refusal", None, "noise"),
    )


@pytest.mark.parametrize(
    ("old", "new", "relative"),
    [
        (100, 98, -0.02),
        (0.001, 0.002, 1.0),
        ("a", "b", None),
        (None, 3, None),
        (0, 3, None),
        (True, False, None),
    ],
)
def test_relative_change_is_of_numbers_only(
    old: Scalar | None, new: Scalar | None, relative: float | None
) -> None:
    """A share of the old value, where both are numbers and the old one is not zero."""
    assert Change("x", old, new).relative == (None if relative is None else pytest.approx(relative))


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
scalars = (
    texts | st.integers(-(2**62), 2**62) | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
)


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "model": texts,
            "resolution": scalars,
            "workload": st.dictionaries(texts, scalars, max_size=3),
            "settings": st.dictionaries(texts, scalars | st.lists(scalars, max_size=4), max_size=3),
            "made_with": st.dictionaries(texts, texts, max_size=3),
            "lr_refusal": texts,
        }
    )
)
def test_any_profile_survives_the_file(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]
) -> None:
    """Whatever the names and values, what is written is read back, and written again as the same bytes."""
    path = tmp_path_factory.mktemp("lock") / "gpu-profile.lock"
    profile = locked(**changes)
    update_lock(path, [profile])
    lock = read_lock(path)
    assert list(lock) == [profile]
    assert render(lock) == path.read_text(encoding="utf-8")
