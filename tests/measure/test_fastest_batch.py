"""The tuned batch by its speed, and speeds that bounds ask for: which probes, and what is found."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from fake_runner import Rehearsal, make_case, surroundings
from speed_curves import flat, kinked, linear, saturating

from harness.bounds.measured import judge
from harness.devices.cpu import CpuDevice
from harness.lockfile.profiles import LockedProfile
from harness.measure.case import measure_case
from harness.measurement import DeviceIdentity
from harness.probes import open_cases
from harness.throughput.choice import LEAST_ROUNDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.devices.device import Device
    from harness.matrix.case import Case
    from harness.measurement import Measurement

FASTEST = "objective: throughput"
NEVER = "when: never"
DROP = "throughput: {max_drop: 10%}"


@pytest.fixture
def rehearse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Measurement]:
    """Return a function that measures a case with a rehearsal in place of its zygote."""

    def rehearse(case: Case, runner: Rehearsal, locked: LockedProfile | None = None) -> Measurement:
        monkeypatch.setattr(open_cases, "open_runner", lambda *_: runner)
        return measure_case(case, runner.device, locked, surroundings(tmp_path))

    return rehearse


def lock(measurement: Measurement, **changes: Any) -> LockedProfile:
    """Return the profile that locks a measurement, with changes."""
    return replace(LockedProfile.from_measurement(measurement), **changes)


def test_smallest_batch_that_is_as_fast_is_tuned(
    tmp_path: Path, rehearse: Callable[..., Measurement]
) -> None:
    """The largest batch stays what it is; the tuned one, its speed and its validation follow."""
    runner = Rehearsal(base=0, per_sample=1 << 18, speed=lambda size: min(size, 30) * 10.0)
    found = rehearse(make_case(tmp_path, search=FASTEST), runner)
    assert (256, 32, 32, 300.0) == (
        found.max_batch_size,
        found.batch_size,
        found.validation_batch_size,
        found.samples_per_second,
    )
    assert {32} == {batch_size for batch_size, _, _ in runner.swept}
    assert [1, 2, 4, 8, 16, 32, 64, 128, 256] == [speed.batch_size for speed in found.speeds]
    assert found.samples_per_second_spread is not None
    assert "processor" in found.made_with
    (picture,) = (path for path in found.artifacts if path.endswith("throughput.png"))
    assert picture == str(tmp_path / "results" / "net-cpu-1" / "throughput.png")
    assert (tmp_path / "results" / "net-cpu-1" / "throughput.png").stat().st_size


def test_largest_batch_is_tuned_where_speed_rises(
    tmp_path: Path, rehearse: Callable[..., Measurement]
) -> None:
    """Where the largest batch is the fastest, it is tuned, and few small ones are timed."""
    runner = Rehearsal(base=0, speed=linear)
    found = rehearse(make_case(tmp_path, search=FASTEST, lr=NEVER), runner)
    assert (64, 64) == (found.max_batch_size, found.batch_size)
    assert [1, 1, 1, 1] == [runner.timed.count(size) for size in (1, 2, 8, 16)]
    assert [2, LEAST_ROUNDS] == [runner.timed.count(size) for size in (32, 64)]


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("round_to: 8", [8, 16, 32, 56, 64]),
        ("safety_factor: 0.5", [1, 2, 4, 8, 16, 32]),
        ("min_batch_size: 10", [16, 32, 64]),
        ("max_batch_size: 1", [1]),
        ("round_to: 24", [24, 48]),
    ],
)
def test_sizes_follow_the_settings_of_the_search(
    tmp_path: Path, rehearse: Callable[..., Measurement], search: str, expected: list[int]
) -> None:
    """They are multiples of round_to, none below the minimum or above the safety factor's."""
    runner = Rehearsal(base=0, speed=lambda _: 500.0)
    found = rehearse(make_case(tmp_path, search=f"{FASTEST}, {search}", lr=NEVER), runner)
    assert [size for size in expected if size != 56] == sorted(set(runner.timed))
    assert found.batch_size == min(runner.timed)
    assert found.samples_per_second == 500.0


def test_sizes_that_the_search_saw_to_be_slow_are_not_timed(
    tmp_path: Path, rehearse: Callable[..., Measurement], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a probe of the search was far slower than another, no smaller size is timed."""
    runner = Rehearsal(base=0, speed=kinked)
    train = runner.train

    def with_speed(batch_size: int, **arguments: Any) -> Any:
        return replace(train(batch_size, **arguments), samples_per_second=kinked(batch_size))

    monkeypatch.setattr(runner, "train", with_speed)
    rehearse(make_case(tmp_path, search=FASTEST, lr=NEVER), runner)
    slow = [asked["batch_size"] for asked in runner.trained if asked["batch_size"] < 16]
    assert min(runner.timed) > max(slow)


def test_locked_batch_stays_within_the_noise(
    tmp_path: Path, rehearse: Callable[..., Measurement]
) -> None:
    """A locked batch is timed, and stays where a smaller one is slower by about the floor."""
    case = make_case(tmp_path, search=FASTEST, lr=NEVER)
    slower = {32: 97.9, 64: 100.0}
    runner = Rehearsal(base=0, speed=lambda size: slower.get(size, 20.0))
    first = rehearse(case, runner)
    assert 64 == first.batch_size
    slower[32] = 98.01
    noise = iter([0.98, 1.02, 0.99, 1.01, 1.0] * 40)
    runner.speed = lambda size: slower.get(size, 20.0) * next(noise)
    assert 64 == rehearse(case, runner, lock(first)).batch_size


def test_locked_batch_that_has_become_slow_is_told(
    tmp_path: Path, rehearse: Callable[..., Measurement]
) -> None:
    """Where another batch is the fastest now, a warning names both."""
    case = make_case(tmp_path, search=FASTEST, lr=NEVER)
    first = rehearse(case, Rehearsal(base=0, speed=lambda size: min(size, 16) * 10.0))
    second = rehearse(case, Rehearsal(base=0, speed=linear), lock(first))
    assert (16, 64) == (first.batch_size, second.batch_size)
    assert (
        "batch 16 is locked, and is no longer the smallest that is as fast as any: batch 64 is"
        in second.warnings
    )


def test_size_that_fails_when_it_is_timed_is_left_out(
    tmp_path: Path, rehearse: Callable[..., Measurement]
) -> None:
    """A batch whose longer training fails is not tuned, and a warning says so."""
    runner = Rehearsal(base=0, speed=lambda size: linear(size) if size < 64 else 0.0)
    found = rehearse(make_case(tmp_path, search=FASTEST, lr=NEVER), runner)
    assert (64, 32, 1) == (found.max_batch_size, found.batch_size, runner.timed.count(64))
    assert "batch 64 out of memory when it was timed" in found.warnings


def test_nothing_that_can_be_timed_leaves_the_largest(
    tmp_path: Path, rehearse: Callable[..., Measurement]
) -> None:
    """Where every timed probe fails, the largest batch stays, without a speed of its own."""
    found = rehearse(
        make_case(tmp_path, search=f"{FASTEST}, max_batch_size: 2", lr=NEVER),
        Rehearsal(speed=lambda _: 0.0),
    )
    assert (2, None, ()) == (found.batch_size, found.samples_per_second_spread, found.speeds)
    assert "no batch size could be timed: batch 2 is the largest" in found.warnings


def test_memory_is_the_default_and_times_nothing(
    tmp_path: Path, rehearse: Callable[..., Measurement]
) -> None:
    """Without objective and bound no probe is timed."""
    runner = Rehearsal()
    found = rehearse(make_case(tmp_path, lr=NEVER), runner)
    assert ([], ()) == (runner.timed, found.speeds)
    assert found.samples_per_second_spread is None


def test_bound_on_speed_times_the_tuned_batch(
    tmp_path: Path, rehearse: Callable[..., Measurement]
) -> None:
    """With the objective `memory` and the bound, the tuned batch alone is timed in rounds."""
    runner = Rehearsal(speed=saturating)
    case = make_case(tmp_path, search="safety_factor: 0.9", lr=NEVER, bounds=DROP)
    found = rehearse(case, runner)
    assert [48] * LEAST_ROUNDS == runner.timed
    assert (48, saturating(48)) == (found.batch_size, found.samples_per_second)


def test_drop_is_measured_again_before_it_fails(
    tmp_path: Path, rehearse: Callable[..., Measurement]
) -> None:
    """A drop that both measurements see fails with both; one that is gone is a warning."""
    case = make_case(tmp_path, lr=NEVER, bounds=DROP)
    locked = lock(rehearse(case, Rehearsal()))
    slow = Rehearsal(speed=lambda _: 80.0)
    found = rehearse(case, slow, locked)
    assert 2 * LEAST_ROUNDS == len(slow.timed)
    (violation,) = judge(found, locked, case.bounds).violations
    assert ("throughput", 100.0, 80.0, 90.0) == (
        violation.bound,
        violation.locked,
        violation.measured,
        violation.allowed,
    )

    again = Rehearsal()
    again.speed = lambda _: 80.0 if len(again.timed) <= LEAST_ROUNDS else 99.0
    verdict = judge(rehearse(case, again, locked), locked, case.bounds)
    assert () == verdict.violations
    assert "no drop" in verdict.warnings[0]

    unchanged = Rehearsal()
    assert () == judge(rehearse(case, unchanged, locked), locked, case.bounds).warnings
    assert LEAST_ROUNDS == len(unchanged.timed)


def test_preset_quick_keeps_the_locked_batch_and_its_speed(
    tmp_path: Path, rehearse: Callable[..., Measurement]
) -> None:
    """Under `quick` a locked batch that fits is not compared; a bound alone has it timed."""
    first = rehearse(make_case(tmp_path, search=FASTEST, lr=NEVER), Rehearsal(base=0, speed=flat))
    runner = Rehearsal(base=0, speed=linear)
    quick = make_case(tmp_path, search=FASTEST, lr=NEVER, preset="quick")
    found = rehearse(quick, runner, lock(first))
    assert ([], 1, 500.0, 1.0) == (
        runner.timed,
        found.batch_size,
        found.samples_per_second,
        found.samples_per_second_spread,
    )
    bounded = make_case(tmp_path, search=FASTEST, lr=NEVER, bounds=DROP, preset="quick")
    runner = Rehearsal(base=0, speed=lambda _: 490.0)
    found = rehearse(bounded, runner, lock(first))
    assert ({1}, 1, 490.0) == ({*runner.timed}, found.batch_size, found.samples_per_second)


def test_preset_thorough_chooses_as_if_nothing_were_locked(
    tmp_path: Path, rehearse: Callable[..., Measurement]
) -> None:
    """Under `thorough` a locked batch is timed, and has no advantage."""
    case = make_case(tmp_path, search=FASTEST, lr=NEVER)
    first = rehearse(case, Rehearsal(base=0, speed=linear))
    thorough = make_case(tmp_path, search=FASTEST, lr=NEVER, preset="thorough")
    noise = iter([0.975, 1.015, 0.985, 1.005, 0.98] * 80)
    runner = Rehearsal(base=0, speed=lambda size: 1000 if size == 64 else 1000 * next(noise))
    assert (64, 1) == (first.batch_size, rehearse(thorough, runner, lock(first)).batch_size)


def test_sizes_of_a_global_batch_are_its_divisors(
    tmp_path: Path, rehearse: Callable[..., Measurement]
) -> None:
    """Only what makes the global batch exactly is timed; the accumulation follows the choice."""
    search = f"{FASTEST}, global_batch_size: 48"
    runner = Rehearsal(base=0, speed=lambda size: min(size, 8) * 10.0)
    found = rehearse(make_case(tmp_path, search=search, lr=NEVER), runner)
    assert [1, 2, 4, 8, 16, 48] == sorted(set(runner.timed))
    assert (48, 8, 6) == (found.max_batch_size, found.batch_size, found.accumulate_grad_batches)


class OnSimulatedGpu(Rehearsal):
    """Stands for a runner whose probes run on a simulated GPU."""

    @property
    def device(self) -> Device:
        """The CPU under the name of a simulated GPU."""
        device = CpuDevice(self.budget)
        device.identity = DeviceIdentity("simulated NVIDIA H200", self.budget)
        return device


def test_simulated_gpu_has_no_speed(tmp_path: Path, rehearse: Callable[..., Measurement]) -> None:
    """On a simulated GPU nothing is timed: the largest batch stays, and a warning says why."""
    runner = OnSimulatedGpu(base=0, speed=kinked)
    found = rehearse(make_case(tmp_path, search=FASTEST, bounds=DROP), runner)
    assert ([], 64, None, ()) == (
        runner.timed,
        found.batch_size,
        found.samples_per_second,
        found.speeds,
    )
    assert any("throughput needs a measurement" in warning for warning in found.warnings)
