"""Where the memory goes, in whole measured runs on a simulated GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from simulated_runs import NET, make_project, run

from harness.breakdown.shares import breakdown
from harness.lockfile.profiles import read_lock

if TYPE_CHECKING:
    from pathlib import Path

    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

FLOAT, PIXELS, WIDTH = 4, 32 * 32, 64
FEATURES = FLOAT * PIXELS * WIDTH
"""Bytes of a sample behind one of the convolutions."""


def test_table_is_locked_stays_and_names_what_grows(worlds: Worlds, folder: Path) -> None:
    """Its rows make the peak; an update without a change leaves the lock; a failure names them.

    Each convolution keeps its output, which ReLU overwrites. GELU keeps its own beside it.
    """
    run(worlds, folder, "--gpu-profile-update")
    path = folder / "profiles" / "gpu-profile.lock"
    before = path.read_bytes()
    (profile,) = read_lock(path)
    parts = breakdown(profile)
    assert parts is not None
    assert (profile.peak_memory_bytes, 0) == (
        sum(row.num_bytes for row in parts.rows),
        parts.beyond_bytes,
    )
    assert {"stem": FEATURES, "mix": FEATURES} == {
        row.module.removeprefix("model."): row.bytes_per_sample
        for row in parts.rows
        if row.kind == "activation" and row.bytes_per_sample
    }
    code, output, _ = run(worlds, folder, "--gpu-profile-update")
    assert (0, before) == (code, path.read_bytes()), output
    (folder / "net.py").write_text(NET.replace("nn.ReLU(inplace=True)", "nn.GELU()"))
    code, output, case = run(worlds, folder)
    assert 1 == code
    assert "activation of model.act" in output
    assert "activation of model.act" in {one["holder"] for one in case["grown"]}


@pytest.fixture
def folder(worlds: Worlds) -> Path:
    """Make a user's project with one case on a GPU, and leave it unlocked."""
    return make_project(worlds.folder / "project")
