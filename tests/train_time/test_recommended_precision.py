"""Reading the recommended precision from the lock at train time."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from measurements import CPU, locked

import harness
from harness.errors import HarnessError
from harness.lockfile.write import update_lock

if TYPE_CHECKING:
    from pathlib import Path

    from harness.lockfile.profiles import LockedProfile


def of(precision: str, speed: float, resolution: int = 224, **changes: Any) -> LockedProfile:
    """Return a locked profile of a precision."""
    axes = {"model": "net", "gpu": "cpu", "resolution": resolution, "precision": precision}
    settings = {"trainer.precision": precision}
    values = {"axes": axes, "settings": settings, "samples_per_second": speed, "device": CPU}
    return locked(**values | {"emulated": True} | changes)


def test_recommended_precision_is_read_from_the_lock(tmp_path: Path) -> None:
    """It is the fastest that kept its signal, and its profile says what the Trainer needs."""
    lock = tmp_path / "gpu-profile.lock"
    refused: dict[str, Any] = {"learning_rate": None, "lr_refusal": "the loss has not fallen"}
    fastest = of("bf16-true", 3000.0, learning_rates=(), lr_horizon=None, **refused)
    update_lock(lock, [of("32-true", 640.0), of("bf16-mixed", 1180.0), fastest])
    tuned = harness.load_profile("net", gpu="cpu", lock=lock, precision="recommended")
    assert ("bf16-mixed", 1180.0) == (tuned.precision, tuned.samples_per_second)


def test_error_of_several_precisions_offers_the_recommended_one(tmp_path: Path) -> None:
    """Without the keyword the profile is not unique."""
    lock = tmp_path / "gpu-profile.lock"
    update_lock(lock, [of("32-true", 1.0), of("bf16-mixed", 2.0)])
    with pytest.raises(HarnessError, match="= one of 32-true, bf16-mixed or recommended"):
        harness.load_profile("net", gpu="cpu", lock=lock)


def test_no_recommendation_says_why(tmp_path: Path) -> None:
    """Each precision is named with its reason, and how to get a profile all the same."""
    lock = tmp_path / "gpu-profile.lock"
    update_lock(lock, [of("32-true", 1.0, learning_rate=None, learning_rates=())])
    with pytest.raises(HarnessError) as caught:
        harness.load_profile("net", gpu="cpu", lock=lock, precision="recommended")
    assert (
        "net-cpu-224: no precision is recommended; left out: 32-true: no LR range test ran, so "
        "nothing shows that it learns. Ask for one of them by name, as precision="
    ) in str(caught.value)


def test_other_axes_must_be_named(tmp_path: Path) -> None:
    """Two resolutions have a recommendation each."""
    lock = tmp_path / "gpu-profile.lock"
    update_lock(lock, [of("32-true", 1.0), of("32-true", 1.0, resolution=32)])
    with pytest.raises(HarnessError, match="Say which: resolution= one of 224, 32"):
        harness.load_profile("net", gpu="cpu", lock=lock, precision="recommended")
    tuned = harness.load_profile(
        "net", gpu="cpu", resolution=32, lock=lock, precision="recommended"
    )
    assert 32 == tuned.axes["resolution"]


def test_model_without_the_axis_has_no_recommendation(tmp_path: Path) -> None:
    """The error says that there is no axis to choose from."""
    lock = tmp_path / "gpu-profile.lock"
    update_lock(lock, [locked(model="net", gpu="cpu", device=CPU, emulated=True)])
    with pytest.raises(HarnessError, match="no axis `precision`, so one precision alone is locked"):
        harness.load_profile("net", gpu="cpu", lock=lock, precision="recommended")


def test_reading_it_imports_neither_torch_nor_pydantic(tmp_path: Path) -> None:
    """A training script pays for no more than the lock."""
    lock = tmp_path / "gpu-profile.lock"
    update_lock(lock, [of("32-true", 1.0), of("bf16-mixed", 2.0)])
    code = (
        "import sys, harness; "
        f"harness.load_profile('net', gpu='cpu', lock={str(lock)!r}, precision='recommended'); "
        "print({'torch', 'pydantic', 'pytest'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "set()" == done.stdout.strip()
