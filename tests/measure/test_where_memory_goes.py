"""Where the memory goes: when a probe finds it, and when the locked table stays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from fake_runner import Rehearsal, make_case, surroundings
from projects import MIB

from harness.lockfile.profiles import LockedProfile
from harness.measure.memory import with_memory
from harness.measurement import DeviceIdentity, Measurement
from harness.probes.open_cases import OpenCase

if TYPE_CHECKING:
    from pathlib import Path

FOUND = Measurement(
    axes={"model": "net", "gpu": "cpu", "resolution": 1},
    device=DeviceIdentity("cpu", 64 * MIB),
    max_batch_size=54,
    batch_size=54,
    bounded_by="memory",
    memory_limit_bytes=64 * MIB,
    peak_memory_bytes=64 * MIB,
    fingerprint="sha256:f1",
    recipe="sha256:r1",
    made_with={"torch": "2.13.0"},
)
LOCKED = LockedProfile.from_measurement(
    replace(FOUND, memory={"parameter": 5}, memory_per_sample={"input": 3})
)


def add(
    tmp_path: Path, locked: LockedProfile | None, *, preset: str = "null", **flaw: Any
) -> tuple[Measurement, Rehearsal]:
    """Add to a measurement where its memory goes, with half a MiB a sample."""
    runner = Rehearsal(held=MIB // 2, directory=tmp_path, **flaw)
    case = make_case(tmp_path, preset=preset)
    opened = OpenCase(
        case,
        runner,  # type: ignore[arg-type] # it stands for one
        runner.description,
        locked,
        surroundings(tmp_path),
    )
    return with_memory(opened, FOUND), runner


def test_probe_finds_it_where_nothing_is_locked(tmp_path: Path) -> None:
    """One probe of the largest batch, and of half of it, tells bytes for all and for each."""
    found, runner = add(tmp_path, None)
    assert [54] == runner.asked_holders
    assert {"parameter": 10 * MIB} == found.memory
    assert {"activation of head": MIB // 2} == found.memory_per_sample
    assert [] == list(tmp_path.glob("*.json"))


def test_locked_table_stays_where_nothing_has_changed(tmp_path: Path) -> None:
    """The same workload with the same largest batch needs no probe; one sample is nothing."""
    for locked in (LOCKED, replace(LOCKED, max_batch_size=55)):
        found, runner = add(tmp_path, locked)
        assert ([], {"parameter": 5}, {"input": 3}) == (
            runner.asked_holders,
            found.memory,
            found.memory_per_sample,
        )


@pytest.mark.parametrize(
    "change",
    [
        {"max_batch_size": 60},
        {"fingerprint": "sha256:f2"},
        {"recipe": "sha256:r2"},
        {"made_with": {"torch": "2.12.0"}},
        {"memory": {}, "memory_per_sample": {}},
        {"source": "predicted"},
    ],
)
def test_change_asks_for_a_probe(tmp_path: Path, change: dict[str, Any]) -> None:
    """Whatever may move the memory makes the locked table old."""
    _, runner = add(tmp_path, replace(LOCKED, **change))
    assert [54] == runner.asked_holders


def test_thorough_always_measures(tmp_path: Path) -> None:
    """The preset `thorough` takes nothing from the lock."""
    _, runner = add(tmp_path, LOCKED, preset="thorough")
    assert [54] == runner.asked_holders


def test_probe_that_finds_nothing_leaves_the_measurement(tmp_path: Path) -> None:
    """A training that cannot be followed is measured all the same."""
    runner = Rehearsal(held=None, directory=tmp_path)
    case = make_case(tmp_path)
    opened = OpenCase(
        case,
        runner,  # type: ignore[arg-type] # it stands for one
        runner.description,
        None,
        surroundings(tmp_path),
    )
    assert FOUND == with_memory(opened, FOUND)
