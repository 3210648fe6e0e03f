"""Updating and pruning a lockfile: which profiles reach it, and which stay."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from making import A100, H200, locked

from harness.lock_writing import prune, render, update_lock, write_candidate
from harness.lockfile import Lock, LockedProfile, LockError, read_lock
from harness.measurement import DeviceIdentity

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a lockfile in a folder of its own."""
    return tmp_path / "gpu-profile.lock"


def test_update_replaces_only_the_same_case_and_device(path: Path) -> None:
    """Other cases, and the same case on other devices, stay as they were."""
    others = [locked(model="vit"), locked(resolution=32), locked(device=A100)]
    update_lock(path, [locked(), *others])
    fresh = locked(batch_size=3000, device=DeviceIdentity(H200.name, H200.memory_bytes + 1024**2))
    update_lock(path, [fresh])
    kept = set(map(repr, read_lock(path)))
    assert kept == set(map(repr, [fresh, *others]))


def test_update_replaces_all_profiles_of_the_same_device(path: Path) -> None:
    """Two totals that are just too far apart to be one device may both be within 1% of a third: the lock stays readable."""
    totals = [H200.memory_bytes, int(H200.memory_bytes * 1.015)]
    update_lock(path, [locked(device=DeviceIdentity(H200.name, total)) for total in totals])
    fresh = locked(device=DeviceIdentity(H200.name, int(H200.memory_bytes * 1.0075)))
    update_lock(path, [fresh])
    assert [fresh] == list(read_lock(path))


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


PREDICTED: dict[str, Any] = {
    "predicted_batch_size": 3600,
    "predicted_with": {"torch": "2.13.0"},
    "predicted_peak": {"parameter": 4096},
}


def prediction(**changes: Any) -> LockedProfile:
    """Make a profile that was only predicted."""
    values: dict[str, Any] = {"source": "predicted", "max_batch_size": 3600, "learning_rate": None}
    return locked(**values | PREDICTED | changes)


def test_prediction_goes_beside_what_was_measured(path: Path) -> None:
    """Of the same workload and recipe the measured values stay, and the prediction joins them."""
    update_lock(path, [locked()])
    update_lock(path, [prediction()])
    assert [locked(**PREDICTED)] == list(read_lock(path))


@pytest.mark.parametrize("changed", ["fingerprint", "recipe"])
def test_prediction_of_another_workload_takes_the_place(path: Path, changed: str) -> None:
    """What was measured of another workload, or with another recipe, is worth nothing any more."""
    update_lock(path, [locked()])
    fresh = prediction(**{changed: "sha256:new"})
    update_lock(path, [fresh])
    assert [fresh] == list(read_lock(path))


def test_measurement_takes_the_place_of_a_prediction(path: Path) -> None:
    """The first measurement locks the case, with the prediction that it made itself."""
    update_lock(path, [prediction()])
    update_lock(path, [locked(**PREDICTED)])
    assert [locked(**PREDICTED)] == list(read_lock(path))


def test_predicted_profile_with_another_maximum_is_damaged(path: Path) -> None:
    """Where only a prediction is locked, the maximum is the prediction."""
    path.write_text(render(Lock(path, (prediction(),))), encoding="utf-8")
    text = path.read_text(encoding="utf-8").replace(
        "predicted_batch_size = 3600", "predicted_batch_size = 3700"
    )
    path.write_text(text, encoding="utf-8")
    with pytest.raises(
        LockError, match="predicted_batch_size has to be max_batch_size, 3600, where source is predicted"
    ):
        read_lock(path)


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
