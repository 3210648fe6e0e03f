"""A measured case that was predicted first: where the search begins, and what is kept of the prediction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from rehearsal import Rehearsal, make_case, surroundings

from harness import profile
from harness.devices.cpu import CpuDevice
from harness.endings import UntraceableError
from harness.lockfile import LockedProfile
from harness.measurement import DeviceIdentity
from harness.predict.gpus import by_label
from harness.predict.trace import Block, Mark, Trace
from harness.probe import Description

from support import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from harness.devices import Device
    from harness.measurement import Measurement

T4 = by_label("T4")
LIMIT = int(0.9 * T4.total_bytes)
BASE = 30 * MIB
ENDLESS = Description({"module": "zoo.Net"}, "sha256:f1", None, None, True, False, 0)


@dataclass
class OnT4(Rehearsal):
    """Probes on a T4, of a workload whose trace says `traced_per_sample`."""

    traced_per_sample: int = MIB
    untraceable: bool = False

    @property
    def device(self) -> Device:
        """A T4, as far as anybody asks."""
        device = CpuDevice(self.budget)
        device.identity = DeviceIdentity(T4.name, T4.nvml_mib * MIB)
        return device

    def trace(self, batch_sizes: Sequence[int], **_: object) -> list[Trace]:
        """Hold the base, and so much per sample."""
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
    """Profile a case on a T4, with a rehearsal in place of its zygote."""

    def measure(runner: OnT4, locked: LockedProfile | None = None) -> Measurement:
        monkeypatch.setattr(profile, "open_runner", lambda *_: runner)
        case = make_case(tmp_path, lr="when: never")
        return profile.profile_case(case, runner.device, locked, surroundings(tmp_path))

    return measure


def on_t4(**changes: object) -> OnT4:
    """Let a sample take 1 MiB of what a T4 has."""
    return OnT4(budget=LIMIT, base=BASE, description=ENDLESS, **changes)  # type: ignore[arg-type] # its fields


def test_search_begins_with_the_prediction(measure: Callable[..., Measurement]) -> None:
    """The first batch that is probed is the predicted one, and it takes fewer probes than without."""
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
def test_wrong_prediction_changes_no_result(measure: Callable[..., Measurement], share: float) -> None:
    """A prediction only says where to begin: the largest batch is the one that was measured."""
    wrong = measure(on_t4(traced_per_sample=int(share * MIB)))
    assert measure(on_t4()).max_batch_size == wrong.max_batch_size
    assert wrong.predicted_batch_size != wrong.max_batch_size


def test_untraceable_workload_is_measured_without(measure: Callable[..., Measurement]) -> None:
    """That a training cannot be predicted is no trouble on the GPU itself."""
    found = measure(on_t4(untraceable=True))
    assert (None, {}) == (found.predicted_batch_size, found.predicted_peak)
    assert found.max_batch_size > 0


@dataclass
class Chunked(OnT4):
    """Takes its memory in as many pieces as there are samples."""

    def trace(self, batch_sizes: Sequence[int], **_: object) -> list[Trace]:
        """Make one block per sample."""
        base = Block(BASE, "parameter", "net")
        return [
            Trace(size, (base, *[Block(MIB, "activation", "net.0")] * size), tuple(range(size + 1)))
            for size in batch_sizes
        ]


def test_steps_that_depend_on_the_batch_are_traced_at_each(measure: Callable[..., Measurement]) -> None:
    """No line goes through two traces of other events: the batch sizes in question are traced themselves."""
    runner = Chunked(budget=LIMIT, base=BASE, description=ENDLESS)
    found = measure(runner)
    assert found.predicted_batch_size is not None
    assert found.predicted_batch_size == runner.trained[0]["batch_size"]
    assert 0.97 * found.max_batch_size < found.predicted_batch_size <= found.max_batch_size


def test_predicted_profile_is_an_aim_and_no_lock(measure: Callable[..., Measurement]) -> None:
    """From a profile that was only predicted, no learning rate is kept, and nothing is taken for measured."""
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
    """What a prediction holds is also told at the batch that the lock predicts, to be compared with it."""
    locked = replace(LockedProfile.from_measurement(measure(on_t4())), predicted_batch_size=100)
    found = measure(on_t4(traced_per_sample=2 * MIB), locked)
    assert {"activation of net.0": 200 * MIB, "parameter of net": BASE} == found.predicted_at_locked
