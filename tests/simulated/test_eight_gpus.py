"""Runs on a machine with several GPUs, simulated: each GPU is of one case at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from gpu_users import at_once, looks, overlaps, short_cases
from simulated_runs import report_of, start
from simulated_worlds import h100, inside

from harness.lockfile.profiles import read_lock

if TYPE_CHECKING:
    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated


@pytest.mark.slow
def test_eight_workers_use_eight_gpus(worlds: Worlds) -> None:
    """`-n auto` starts a worker for each of eight GPUs, and each case has a GPU of its own."""
    record = worlds.folder / "record"
    folder = short_cases(worlds.folder / "project", 8, record)
    environment = inside(worlds.make(*[h100()] * 8))
    code, output = start(
        folder, environment, "-n", "auto", "-v", "--gpu-profile-update", zygotes=worlds.zygotes
    )
    assert 0 == code, output
    assert "8 workers [8 items]" in output
    seen = looks(record)
    assert 8 == len({one.gpu for one in seen})
    assert ([], []) == ([one for one in seen if one.strangers], list(overlaps(seen)))
    assert 8 == len(read_lock(folder / "profiles" / "gpu-profile.lock"))


@pytest.mark.slow
def test_two_runs_never_share_a_gpu(worlds: Worlds) -> None:
    """Two runs with four workers each on three GPUs take turns on every GPU."""
    record = worlds.folder / "record"
    folders = [short_cases(worlds.folder / name, 5, record) for name in ("one", "two")]
    world = worlds.make(*[h100()] * 3)
    assert worlds.zygotes is not None
    runs = at_once(folders, world, "-n", "4", "--gpu-profile-update", zygotes=worlds.zygotes)
    assert [0, 0] == [code for code, _ in runs], runs
    seen = looks(record)
    assert 10 == len({one.session for one in seen})
    assert ([], []) == ([one for one in seen if one.strangers], list(overlaps(seen)))


@pytest.mark.slow
def test_small_cases_share_a_gpu(worlds: Worlds) -> None:
    """Cases with budgets run on one GPU side by side, find what they find alone, and say so."""
    record = worlds.folder / "record"
    folder = short_cases(worlds.folder / "project", 3, record)
    environment = inside(worlds.make())
    flags = ("-n", "3", "--gpu-profile-update", "--gpu-profile-share", "-v")
    code, output = start(folder, environment, *flags, zygotes=worlds.zygotes)
    assert 0 == code, output
    assert any(one.strangers for one in looks(record))
    cases = report_of(folder)
    assert [2, 2, 2] == [case["max_batch_size"] for case in cases]
    assert all("was allowed to share" in str(case["warnings"]) for case in cases)
