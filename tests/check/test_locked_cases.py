"""Locked profiles beside the cases of a matrix, without a device."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from fake_runner import make_case, surroundings
from measurements import locked

from harness.check.locked_cases import LockedCases, describes
from harness.lockfile.profiles import Lock
from harness.measurement import DeviceIdentity

if TYPE_CHECKING:
    from pathlib import Path

    from harness.lockfile.profiles import LockedProfile

MIB = 1 << 20


def of_net(**changes: object) -> LockedProfile:
    """Return a profile of net-cpu-1 under its budget of 64 MiB."""
    values = {"device": DeviceIdentity("cpu", 64 * MIB), "emulated": True} | changes
    return locked(model="net", gpu="cpu", resolution=1, **values)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (of_net(), True),
        (of_net(device=DeviceIdentity("cpu", 32 * MIB)), False),
        (of_net(device=DeviceIdentity("NVIDIA H200", 64 * MIB)), False),
        (replace(of_net(), axes={"model": "net", "gpu": "cpu", "resolution": 2}), False),
    ],
    ids=["same", "budget", "device", "axes"],
)
def test_profile_describes_a_case_on_a_device_of_its_label(
    tmp_path: Path, profile: LockedProfile, expected: bool
) -> None:
    """Axes, device and budget must be those of the case."""
    assert expected == describes(profile, make_case(tmp_path))


def test_case_without_a_profile_is_missing_and_no_workload_is_built(tmp_path: Path) -> None:
    """The surroundings of a build are not even asked for."""
    cases = LockedCases(Lock(tmp_path / "gpu-profile.lock"), pytest.fail)
    assert [("missing", "never locked")] == [
        (one.bound, one.message) for one in cases.missing(make_case(tmp_path))
    ]


@pytest.mark.parametrize(
    ("lr", "search", "changes", "expected"),
    [
        ("", "", {}, []),
        (
            "",
            "",
            {"learning_rate": None, "learning_rates": ()},
            [
                (
                    "no learning rate is locked: the LR range test was not run; where training has "
                    "a rate of its own, set lr_range.when: never"
                )
            ],
        ),
        ("when: never", "", {"learning_rate": None, "learning_rates": ()}, []),
        (
            "",
            "objective: throughput",
            {},
            ["no timed speed is locked, and search.objective or bounds.throughput asks for one"],
        ),
        ("", "objective: throughput", {"samples_per_second_spread": 1.0}, []),
        (
            "",
            "max_trials: 25}\nworkers: {max: 4",
            {},
            [
                (
                    "no number of loader workers is locked, and workers.max asks for one; where a "
                    "measurement cannot tell it, and warns so, set workers: {max: null} for the "
                    "model"
                )
            ],
        ),
    ],
    ids=["complete", "rate", "never", "speed", "timed", "workers"],
)
def test_values_that_the_settings_ask_for_must_be_locked(
    tmp_path: Path, lr: str, search: str, changes: dict[str, object], expected: list[str]
) -> None:
    """A learning rate unless it is never asked for; no workload is built to know that."""
    lock = Lock(tmp_path / "gpu-profile.lock", (of_net(**changes),), exists=True)
    cases = LockedCases(lock, pytest.fail)
    assert expected == [
        one.message for one in cases.missing(make_case(tmp_path, lr=lr, search=search))
    ]


@pytest.mark.probes
def test_validation_batch_that_is_searched_must_be_locked(tmp_path: Path) -> None:
    """Where the workload has validation, which its build tells."""
    (tmp_path / "work").mkdir()
    case = make_case(tmp_path, search="validation: search")
    missing = {}
    for batch_size in (8, None):
        lock = Lock(
            tmp_path / "gpu-profile.lock",
            (of_net(validation_batch_size=batch_size),),
            exists=True,
        )
        cases = LockedCases(lock, lambda: surroundings(tmp_path))
        missing[batch_size] = [one.message for one in cases.missing(case)]
    expected = "no validation batch size is locked, and search.validation: search asks for one"
    assert {8: [], None: [expected]} == missing
