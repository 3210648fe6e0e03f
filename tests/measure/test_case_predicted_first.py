"""Measures cases that are predicted first: the start of the search, the prediction that stays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from fake_runner import Rehearsal, make_case, surroundings
from projects import MIB

from harness.device_identity import SIMULATED, DeviceIdentity
from harness.devices.cpu import CpuDevice
from harness.errors import UnpredictableError
from harness.lockfile.profiles import LockedProfile
from harness.measure import case as measuring
from harness.measurement import Predicted
from harness.predict.gpus import by_label
from harness.probes import open_cases
from harness.probes.description import Description

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.devices.device import Device
    from harness.matrix.case import Case
    from harness.measurement import Measurement
    from harness.predict.gpus import GpuFacts
    from harness.probes.open_cases import Surroundings

T4 = by_label("T4")
LIMIT = int(0.9 * T4.total_bytes)
BASE = 30 * MIB
LARGEST = (LIMIT - BASE) // MIB
ENDLESS = Description({"module": "zoo.Net"}, "sha256:f1", None, None, True, False, 0)


@dataclass
class OnT4(Rehearsal):
    """Probes on a T4, or on a simulated one."""

    simulated: bool = False

    @property
    def device(self) -> Device:
        """A device with the identity of a T4."""
        device = CpuDevice(self.budget)
        name = f"{SIMULATED}{T4.name}" if self.simulated else T4.name
        device.identity = DeviceIdentity(name, T4.nvml_mib * MIB)
        return device


def on_t4(*, simulated: bool = False) -> OnT4:
    """Return a rehearsal in which each sample takes 1 MiB of a T4's memory."""
    return OnT4(budget=LIMIT, base=BASE, description=ENDLESS, simulated=simulated)


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Measurement]:
    """Return a function that measures a case on a T4, with a rehearsal in place of its zygote.

    predicted: the batch that is predicted; None: a prediction is not possible.
    """

    def measure(
        runner: OnT4, predicted: int | None, locked: LockedProfile | None = None
    ) -> Measurement:
        def predict_for(_case: Case, gpu: GpuFacts, _surroundings: Surroundings) -> Predicted:
            assert T4 == gpu
            if predicted is None:
                raise UnpredictableError("model.py:7 reads values")
            return Predicted(predicted, {"torch": "2.13.0"}, {"parameter of net": BASE}, {})

        monkeypatch.setattr(open_cases, "open_runner", lambda *_: runner)
        monkeypatch.setattr(measuring, "predict_for", predict_for)
        case = make_case(tmp_path, lr="when: never")
        return measuring.measure_case(case, runner.device, locked, surroundings(tmp_path))

    return measure


def test_search_begins_with_the_prediction(measure: Callable[..., Measurement]) -> None:
    """The first probe is at the predicted batch, and the search takes fewer probes."""
    runner = on_t4()
    found, cold = measure(runner, LARGEST), measure(on_t4(), None)
    assert LARGEST == found.predicted_batch_size == runner.trained[0]["batch_size"]
    assert cold.max_batch_size == found.max_batch_size
    assert len(found.probes) < len(cold.probes)
    assert {"parameter of net": BASE} == found.predicted_peak


@pytest.mark.parametrize("share", [0.8, 1.25])
def test_wrong_prediction_changes_no_result(
    measure: Callable[..., Measurement], share: float
) -> None:
    """A wrong prediction moves the start of the search, and not the largest batch."""
    wrong = int(share * LARGEST)
    found = measure(on_t4(), wrong)
    assert (LARGEST, wrong) == (found.max_batch_size, found.predicted_batch_size)


def test_unpredictable_workload_is_measured_without(measure: Callable[..., Measurement]) -> None:
    """A training that cannot be predicted is still measured."""
    found = measure(on_t4(), None)
    assert (LARGEST, None, {}) == (
        found.max_batch_size,
        found.predicted_batch_size,
        found.predicted_peak,
    )


def test_simulated_gpu_is_not_predicted(measure: Callable[..., Measurement]) -> None:
    """A search on a simulated GPU is what its prediction would be."""
    found = measure(on_t4(simulated=True), 100)
    assert (LARGEST, None) == (found.max_batch_size, found.predicted_batch_size)


def test_predicted_profile_is_measured_as_if_never_locked(
    measure: Callable[..., Measurement],
) -> None:
    """The search of a case that was only predicted begins with its new prediction, too."""
    first = measure(on_t4(), LARGEST)
    only = replace(
        LockedProfile.from_measurement(first),
        source="predicted",
        max_batch_size=100,
        predicted_batch_size=100,
        learning_rate=0.5,
    )
    runner = on_t4()
    found = measure(runner, LARGEST, only)
    assert LARGEST == runner.trained[0]["batch_size"]
    assert (None, False) == (found.learning_rate, found.lr_kept)
    assert first.max_batch_size == found.max_batch_size
