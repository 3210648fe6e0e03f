"""The histories of a search: where they are kept, and the estimates that they give."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest

from harness.batch_search.histories import recorded_histories
from harness.search.estimates import Estimate

if TYPE_CHECKING:
    from pathlib import Path

    from harness.probes.runner import ProbeRunner

MIB = 1 << 20
WEIGHTS, SAMPLE, LIMIT = 64 * MIB, 12 * MIB, 1000 * MIB


@dataclass
class Device:
    """A device that keeps a history, or does not."""

    can_snapshot: bool


@dataclass
class Runner:
    """What a search's histories need of a runner."""

    directory: Path
    device: Device = field(default_factory=lambda: Device(can_snapshot=True))

    @property
    def real(self) -> ProbeRunner:
        """The runner, for type checkers."""
        return cast("ProbeRunner", self)


def training(batch_size: int) -> dict[str, Any]:
    """Return the history of a step: weights that stay, and an activation that is freed."""
    return {"sizes": [WEIGHTS, batch_size * SAMPLE], "events": [0, 1, ~1], "first_step": 3}


@pytest.mark.parametrize(
    ("batch_size", "estimate"),
    [
        (2, Estimate((LIMIT - WEIGHTS) // SAMPLE, rough=True)),
        (7, Estimate((LIMIT - WEIGHTS) // SAMPLE, rough=False)),
    ],
)
def test_estimate_of_few_samples_is_rough(
    tmp_path: Path, batch_size: int, estimate: Estimate
) -> None:
    """A prime batch size from five on tells samples from weights; a smaller one does not."""
    with recorded_histories(Runner(tmp_path).real, allow_thrashing=True) as histories:
        file, estimator = histories.file(batch_size), histories.estimator(LIMIT)
        assert file is not None
        assert estimator is not None
        file.write_text(json.dumps(training(batch_size)))
        assert estimate == estimator(batch_size, 10_000)


def test_size_without_a_history_has_no_estimate(tmp_path: Path) -> None:
    """A probe whose history was too long has written none."""
    with recorded_histories(Runner(tmp_path).real, allow_thrashing=True) as histories:
        estimator = histories.estimator(LIMIT)
        assert estimator is not None
        assert estimator(7, 10_000) is None


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """The folder of the histories goes with the search."""
    with recorded_histories(Runner(tmp_path).real, allow_thrashing=True) as histories:
        assert [histories.directory] == list(tmp_path.iterdir())
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("setting", ["backend:cudaMallocAsync", "nonsense"])
def test_allocator_that_is_not_known_is_not_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """Then probes record nothing, and the search goes by peaks."""
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", setting)
    with recorded_histories(Runner(tmp_path).real, allow_thrashing=True) as histories:
        assert (None, None) == (histories.file(7), histories.estimator(LIMIT))


def test_device_without_a_history_is_searched_by_peaks(tmp_path: Path) -> None:
    """The CPU's malloc records nothing."""
    runner = Runner(tmp_path, Device(can_snapshot=False))
    with recorded_histories(runner.real, allow_thrashing=True) as histories:
        assert (None, None) == (histories.file(7), histories.estimator(LIMIT))
