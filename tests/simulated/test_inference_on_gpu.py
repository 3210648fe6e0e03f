"""The largest batch of predict alone, on a simulated GPU: by a replay of what it allocates."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest
from simulated_runs import MATRIX, NET, make_project, report_of, start
from simulated_worlds import h100, inside

if TYPE_CHECKING:
    from pathlib import Path

    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

PREDICTED = MATRIX.replace(
    "gpus:", "    search: {inference: [predict], max_batch_size: 100000}\ngpus:"
)


def test_plain_module_predicts_larger_batches_than_it_trains(
    tmp_path: Path, worlds: Worlds
) -> None:
    """Measured and predicted, B fits and B + 1 does not; what is safe of a prediction is locked."""
    environment = inside(worlds.make(h100(workspace_bytes=None)))
    folder = make_project(tmp_path / "project", PREDICTED, NET)
    flags = {"measured": (), "predicted": ("--gpu-profile-predict", "--gpu-profile-update")}
    found = {}
    for source, more in flags.items():
        _, output = start(folder, environment, *more)
        (case,) = report_of(folder)
        tried = {
            probe["batch_size"]: probe["outcome"]
            for probe in case["probes"]
            if probe["kind"] == "predict"
        }
        largest = max(size for size, outcome in tried.items() if outcome == "fits")
        assert "oom" == tried[largest + 1], output
        assert case["max_batch_size"] < largest
        found[source] = largest
    assert found["measured"] == found["predicted"]
    lock = tomllib.loads((folder / "profiles" / "gpu-profile.lock").read_text())
    sizes = lock["profile"][0]["inference_batch_sizes"]
    assert {"predict": int(0.9 * found["predicted"])} == sizes
