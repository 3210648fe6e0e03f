"""Measures cases that are predicted first: the start of the search, the prediction that stays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from fake_runner import Rehearsal, make_case, surroundings
from projects import MIB

from harness.devices.cpu import CpuDevice
from harness.errors import UntraceableError
from harness.lockfile.profiles import LockedProfile
from harness.measure.case import measure_case
from harness.measurement import DeviceIdentity
from harness.predict import prediction
from harness.predict.gpus import by_label
from harness.predict.trace import Block, Mark, Trace
from harness.probes import open_cases
from harness.probes.description import Description

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from harness.devices.device import Device
    from harness.measurement import Measurement

T4 = by_label("T4")
LIMIT = int(0.9 * T4.total_bytes)
BASE = 30 * MIB
ENDLESS = Description({"module": "zoo.Net"}, "sha256:f1", None, None, True, False, 0)


@dataclass
class OnT4(Rehearsal):
    """Probes on a T4, of a workload whose trace takes `traced_per_sample` bytes per sample."""

    traced_per_sample: int = MIB
    untraceable: bool = False

    @property
    def device(self) -> Device:
        """A device with the identity of a T4."""
        device = CpuDevice(self.budget)
        device.identity = DeviceIdentity(T4.name, T4.nvml_mib * MIB)
        return device

    def traces(self, batch_sizes: Sequence[int]) -> list[Trace]:
        """Return traces that hold the base, and `traced_per_sample` for each sample."""
        if self.untraceable:
            raise UntraceableError("model.py:7: it depends on the data")
        return [
            Trace(
                size,
                (
                    Block(BASE, "parameter", "net"),
                    Block(size * self.traced_per_sample, "activation", "net.0"),
                ),
                (0, 1, ~1),
                (Mark(0, "model"), Mark(1, "step 1 forward")),
            )
            for size in batch_sizes
        ]


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Measurement]:
    """Return a function that measures a case on a T4, with a rehearsal in place of its zygote."""

    def measure(runner: OnT4, locked: LockedProfile | None = None) -> Measurement:
        monkeypatch.setattr(open_cases, "open_runner", lambda *_: runner)
        monkeypatch.setattr(prediction, "take_traces", lambda _, sizes, *__: runner.traces(sizes))
        case = make_case(tmp_path, lr="when: never")
        return measure_case(case, runner.device, locked, surroundings(tmp_path))

    return measure


def on_t4(**changes: object) -> OnT4:
    """Return a rehearsal in which each sample takes 1 MiB of a T4's memory."""
    return OnT4(
        budget=LIMIT,
        base=BASE,
        description=ENDLESS,
        **changes,  # type: ignore[arg-type] # its fields
    )


def test_search_begins_with_the_prediction(measure: Callable[..., Measurement]) -> None:
    """The first probe is at the predicted batch, and the search takes fewer probes."""
    runner = on_t4()
    found = measure(runner)
    cold = measure(on_t4(untraceable=True))
    assert found.predicted_batch_size is not None
    assert found.predicted_batch_size == runner.trained[0]["batch_size"]
    assert cold.max_batch_size == found.max_batch_size
    assert len(found.probes) < len(cold.probes)
    assert {"parameter of net": BASE} == {
        name: value for name, value in found.predicted_peak.items() if name.startswith("parameter")
    }


@pytest.mark.parametrize("share", [0.8, 1.25])
def test_wrong_prediction_changes_no_result(
    measure: Callable[..., Measurement], share: float
) -> None:
    """A wrong prediction moves the start of the search, and not the largest batch."""
    wrong = measure(on_t4(traced_per_sample=int(share * MIB)))
    assert measure(on_t4()).max_batch_size == wrong.max_batch_size
    assert wrong.predicted_batch_size != wrong.max_batch_size


def test_untraceable_workload_is_measured_without(measure: Callable[..., Measurement]) -> None:
    """A training that cannot be predicted is still measured."""
    found = measure(on_t4(untraceable=True))
    assert (None, {}) == (found.predicted_batch_size, found.predicted_peak)
    assert found.max_batch_size > 0


@dataclass
class Chunked(OnT4):
    """A workload that allocates one block per sample."""

    def traces(self, batch_sizes: Sequence[int]) -> list[Trace]:
        """Return traces with one block per sample."""
        base = Block(BASE, "parameter", "net")
        return [
            Trace(size, (base, *[Block(MIB, "activation", "net.0")] * size), tuple(range(size + 1)))
            for size in batch_sizes
        ]


def test_steps_that_depend_on_the_batch_are_traced_at_each(
    measure: Callable[..., Measurement],
) -> None:
    """If the events depend on the batch size, each batch size in question is traced."""
    runner = Chunked(budget=LIMIT, base=BASE, description=ENDLESS)
    found = measure(runner)
    assert found.predicted_batch_size is not None
    assert found.predicted_batch_size == runner.trained[0]["batch_size"]
    assert 0.97 * found.max_batch_size < found.predicted_batch_size <= found.max_batch_size


def test_predicted_profile_is_an_aim_and_no_lock(measure: Callable[..., Measurement]) -> None:
    """A profile that was only predicted gives no learning rate and does not bound the search."""
    first = measure(on_t4())
    assert first.predicted_batch_size is not None
    profile_of_it = replace(
        LockedProfile.from_measurement(first),
        source="predicted",
        max_batch_size=first.predicted_batch_size,
        learning_rate=0.5,
    )
    found = measure(on_t4(), profile_of_it)
    assert (None, False) == (found.learning_rate, found.lr_kept)
    assert first.max_batch_size == found.max_batch_size


def test_growth_since_the_lock_is_at_the_locked_batch(measure: Callable[..., Measurement]) -> None:
    """The holders of memory at the locked predicted batch are kept too, for comparison."""
    locked = replace(LockedProfile.from_measurement(measure(on_t4())), predicted_batch_size=100)
    found = measure(on_t4(traced_per_sample=2 * MIB), locked)
    assert {"activation of net.0": 200 * MIB, "parameter of net": BASE} == found.predicted_at_locked
