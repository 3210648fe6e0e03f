"""The workers of the training loader: the rule, and what is locked."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from canned_loading import answer
from measurements import measurement

from harness.matrix.settings import WorkersSettings
from harness.measure.loader_workers import fastest, keeps_up, numbers_to_try, with_workers
from harness.measurement import DeviceIdentity
from harness.probes.loader_probe import Loading

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.measurement import Measurement


@pytest.mark.parametrize(
    ("most", "expected"),
    [(1, [0, 1]), (2, [0, 1, 2]), (8, [0, 1, 2, 4, 8]), (6, [0, 1, 2, 4, 6])],
)
def test_numbers_double_up_to_the_most(most: int, expected: list[int]) -> None:
    """They are 0, the powers of two, and the most."""
    assert expected == numbers_to_try(most)


@pytest.mark.parametrize(
    ("load", "step", "expected"),
    [
        ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), True),
        ((1.04, 1.04, 1.04), (1.0, 1.0, 1.0), False),
        ((1.04, 1.04, 1.04), (0.95, 1.0, 1.05), True),
        ((1.04, 1.0, 1.09), (1.0, 1.0, 1.0), True),
        ((1.2, 1.2, 1.2), (0.5, 1.0, 1.5), False),
        ((0.1, 0.5, 0.9), (1.0, 1.0, 1.0), True),
    ],
)
def test_loader_keeps_up_within_the_dispersion(
    load: tuple[float, ...], step: tuple[float, ...], expected: bool
) -> None:
    """Its median may be slower by the spread of the turns, of which no more than 10% counts."""
    assert expected == keeps_up(Loading(step, load))


def test_fastest_is_the_smallest_within_the_dispersion() -> None:
    """Of numbers that cannot be told apart the smallest is taken."""
    step = (1.0, 1.0, 1.0)
    found = {0: (9.0, 9.0, 9.0), 1: (5.0, 5.0, 5.0), 2: (4.9, 4.8, 5.2), 4: (4.8, 4.9, 5.1)}
    assert 1 == fastest({number: Loading(step, load) for number, load in found.items()})


@pytest.fixture
def found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> Callable[[dict[int, Any]], Measurement]:
    """Return a function that tells what is measured, given the answers of the probes."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4))

    def found(answers: dict[int, Any]) -> Measurement:
        opened: Any = SimpleNamespace(
            case=SimpleNamespace(id="net", workers=WorkersSettings(max=8), preset=None),
            surroundings=SimpleNamespace(directory=tmp_path, run="run"),
            runner=SimpleNamespace(ask=lambda task, *_: answer(answers[task["num_workers"]])),
        )
        return with_workers(opened, measurement(batch_size=100))

    (tmp_path / "net").mkdir()
    return found


def test_first_number_that_keeps_up_is_locked(
    found: Callable[[dict[int, Any]], Measurement],
) -> None:
    """No larger number is tried, and both rates are told."""
    done = found({0: (1.0, 4.0), 1: (1.0, 2.0), 2: (1.0, 1.0)})
    assert 2 == done.num_workers
    assert {"0": 25.0, "1": 50.0, "2": 100.0} == done.loader_samples_per_second
    assert (100.0, ()) == (done.step_samples_per_second, done.warnings)


def test_bottleneck_is_told_with_its_factor(
    found: Callable[[dict[int, Any]], Measurement],
) -> None:
    """Where none keeps up the fastest is locked; no more workers than CPUs are tried."""
    done = found({0: (1.0, 8.0), 1: (1.0, 4.0), 2: (1.0, 2.5), 4: (1.0, 2.5)})
    assert 2 == done.num_workers
    assert (
        (
            "workers: the loader is the bottleneck, x2.5 slower than the step with 2, the fastest of "
            "0, 1, 2, 4: make a sample cheaper to load; this machine has 4 CPUs"
        ),
    ) == done.warnings


def test_worker_that_dies_is_told_and_ends_the_trials(
    found: Callable[[dict[int, Any]], Measurement],
) -> None:
    """What was measured before counts."""
    done = found({0: (1.0, 8.0), 1: "RuntimeError: DataLoader worker exited unexpectedly"})
    assert 0 == done.num_workers
    assert "workers: the loader failed with 1: RuntimeError: DataLoader w" in done.warnings[0]


def test_nothing_is_locked_on_a_simulated_gpu() -> None:
    """Its steps take no time, and that is said."""
    opened: Any = SimpleNamespace(case=SimpleNamespace(workers=WorkersSettings(max=8)))
    device = DeviceIdentity("simulated NVIDIA H100", 1 << 30)
    done = with_workers(opened, measurement(device=device))
    assert (None, True) == (done.num_workers, "steps of a simulated GPU" in done.warnings[0])
