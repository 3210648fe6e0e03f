"""Updating and pruning a lockfile: the profiles that are written, removed and kept."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from measurements import A100, H200, locked

from harness.lockfile.profiles import Lock, LockedProfile, read_lock
from harness.lockfile.render import render
from harness.lockfile.toml_text import LockError
from harness.lockfile.write import prune, update_lock, write_candidate
from harness.measurement import DeviceIdentity

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a lockfile in a folder of its own."""
    return tmp_path / "gpu-profile.lock"


def test_update_replaces_only_the_same_case_and_device(path: Path) -> None:
    """An update leaves other cases, and the same case on other devices, unchanged."""
    others = [locked(model="vit"), locked(resolution=32), locked(device=A100)]
    update_lock(path, [locked(), *others])
    fresh = locked(batch_size=3000, device=DeviceIdentity(H200.name, H200.memory_bytes + 1024**2))
    update_lock(path, [fresh])
    kept = set(map(repr, read_lock(path)))
    assert kept == set(map(repr, [fresh, *others]))


def test_update_replaces_all_profiles_of_the_same_device(path: Path) -> None:
    """A profile replaces all profiles whose memory is within 1%, so the lock stays readable."""
    totals = [H200.memory_bytes, int(H200.memory_bytes * 1.015)]
    update_lock(path, [locked(device=DeviceIdentity(H200.name, total)) for total in totals])
    fresh = locked(device=DeviceIdentity(H200.name, int(H200.memory_bytes * 1.0075)))
    update_lock(path, [fresh])
    assert [fresh] == list(read_lock(path))


def test_an_unchanged_lock_is_not_written_again(path: Path) -> None:
    """An update that changes nothing keeps the time of modification, for build tools."""
    update_lock(path, [locked()])
    os.utime(path, ns=(1, 1))
    update_lock(path, [locked()])
    assert path.stat().st_mtime_ns == 1


def test_of_two_measurements_of_one_case_the_last_stays(path: Path) -> None:
    """Of two measurements of one case in one update, the last is locked."""
    update_lock(path, [locked(), locked(batch_size=3000)])
    assert [profile.batch_size for profile in read_lock(path)] == [3000]


PREDICTED: dict[str, Any] = {
    "predicted_batch_size": 3600,
    "predicted_with": {"torch": "2.13.0"},
    "predicted_peak": {"parameter": 4096},
    "predicted_step": (1024, 4096, 2048),
}


def prediction(**changes: Any) -> LockedProfile:
    """Return a profile that was only predicted."""
    values: dict[str, Any] = {"source": "predicted", "max_batch_size": 3600, "learning_rate": None}
    return locked(**values | PREDICTED | changes)


def test_prediction_goes_beside_what_was_measured(path: Path) -> None:
    """A prediction of the same workload and recipe is added to the measured values."""
    update_lock(path, [locked()])
    update_lock(path, [prediction()])
    assert [locked(**PREDICTED)] == list(read_lock(path))


def test_table_of_a_prediction_becomes_its_holders_beside_what_was_measured(path: Path) -> None:
    """The table of the measured values is of another batch, and stays."""
    update_lock(path, [locked(memory={"parameter": 7})])
    table = {"memory": {"parameter": 4096}, "memory_per_sample": {"input": 2}}
    update_lock(path, [prediction(predicted_peak={}, **table)])
    holders = {"input": 7200, "parameter": 4096}
    assert [locked(memory={"parameter": 7}, **PREDICTED | {"predicted_peak": holders})] == list(
        read_lock(path)
    )


@pytest.mark.parametrize("changed", ["fingerprint", "recipe"])
def test_prediction_of_another_workload_takes_the_place(path: Path, changed: str) -> None:
    """A prediction of another workload or recipe replaces the measured values."""
    update_lock(path, [locked()])
    fresh = prediction(**{changed: "sha256:new"})
    update_lock(path, [fresh])
    assert [fresh] == list(read_lock(path))


def test_measurement_takes_the_place_of_a_prediction(path: Path) -> None:
    """A measurement replaces a prediction; it holds its own prediction."""
    update_lock(path, [prediction()])
    update_lock(path, [locked(**PREDICTED)])
    assert [locked(**PREDICTED)] == list(read_lock(path))


def test_predicted_profile_with_another_maximum_is_damaged(path: Path) -> None:
    """In a predicted profile, the maximum and the prediction must be equal."""
    path.write_text(render(Lock(path, (prediction(),))), encoding="utf-8")
    text = path.read_text(encoding="utf-8").replace(
        "predicted_batch_size = 3600", "predicted_batch_size = 3700"
    )
    path.write_text(text, encoding="utf-8")
    with pytest.raises(
        LockError,
        match="predicted_batch_size must equal max_batch_size, 3600, if source is predicted",
    ):
        read_lock(path)


@pytest.mark.parametrize(
    "damage", ["version = 2\n", "<<<<<<< HEAD\n", "version = 1\n[[profile]]\n", "\xff"]
)
def test_a_damaged_file_is_never_overwritten(path: Path, damage: str) -> None:
    """An update of a file that cannot be read fails and leaves the file unchanged."""
    path.write_bytes(damage.encode("latin-1"))
    with pytest.raises(LockError):
        update_lock(path, [locked()])
    assert path.read_bytes() == damage.encode("latin-1")


def test_what_could_not_be_read_again_is_not_written(path: Path) -> None:
    """A value that the reader refuses is not written, and the file stays unchanged."""
    update_lock(path, [locked()])
    before = path.read_bytes()
    with pytest.raises(
        LockError,
        match=r"not written, because it could not be read back: .*samples_per_second is nan",
    ):
        update_lock(path, [locked(model="vit", samples_per_second=float("nan"))])
    assert path.read_bytes() == before


def test_lock_that_readers_would_refuse_for_its_size_is_not_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old file stays, and the error says what to do with so many cases."""
    update_lock(path, [locked()])
    before = path.read_bytes()
    monkeypatch.setattr("harness.lockfile.write.MAX_BYTES", len(before) + 10)
    with pytest.raises(LockError, match=r"2 profiles are more than .* divide the matrix"):
        update_lock(path, [locked(axes={"model": "a", "gpu": "b", "resolution": 1})])
    assert before == path.read_bytes()


def test_the_candidate_is_the_lock_after_an_update(path: Path) -> None:
    """The candidate equals the lock after an update; the lock itself stays unchanged."""
    update_lock(path, [locked(), locked(model="vit")])
    before = path.read_bytes()
    candidate = path.with_name("candidate.lock")
    write_candidate(candidate, path, [locked(batch_size=3000)])
    assert path.read_bytes() == before
    update_lock(path, [locked(batch_size=3000)])
    assert candidate.read_bytes() == path.read_bytes()


def test_prune_keeps_the_cases_of_the_matrix(path: Path) -> None:
    """Pruning removes and returns the cases that left the matrix, on every device."""
    update_lock(path, [locked(), locked(device=A100), locked(model="vit"), locked(resolution=32)])
    removed = prune(path, {"vit-h200-224", "resnet18-h200-32"})
    assert [(profile.case_id, profile.device) for profile in removed] == [
        ("resnet18-h200-224", A100),
        ("resnet18-h200-224", H200),
    ]
    assert [profile.case_id for profile in read_lock(path)] == ["resnet18-h200-32", "vit-h200-224"]


def test_prune_of_a_missing_lock_makes_none(path: Path) -> None:
    """Pruning a missing lockfile removes nothing and creates no file."""
    assert prune(path, set()) == ()
    assert not path.exists()
