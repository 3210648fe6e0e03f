"""A case on another number of devices, for predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from matrix_texts import RIGHT as ON_CPU
from matrix_texts import load

from harness.errors import HarnessError
from harness.matrix.ranks import with_devices

if TYPE_CHECKING:
    from pathlib import Path

RIGHT = ON_CPU.replace("gpu: [cpu]", "gpu: [h200]")


def test_a_case_of_one_device_gets_more(tmp_path: Path) -> None:
    """More than a matrix may have, and one again."""
    case, _ = load(tmp_path, RIGHT)
    many = with_devices(case, 1024)
    assert [1024, 1] == [many.num_ranks, with_devices(many, 1).num_ranks]
    assert with_devices(many, 1) == case


def test_all_ranks_make_the_global_batch(tmp_path: Path) -> None:
    """The share of a rank is smaller, the more there are."""
    case, _ = load(tmp_path, RIGHT + "trainer: {devices: 2}\nsearch: {global_batch_size: 256}")
    assert 128 == case.search.global_batch_size
    other = with_devices(case, 64)
    assert [4, 256] == [other.search.global_batch_size, other.global_batch_size]
    with pytest.raises(HarnessError, match="does not train on 3 devices: 3 ranks cannot make "):
        with_devices(case, 3)


def test_a_strategy_of_several_refuses_one(tmp_path: Path) -> None:
    """By its name."""
    case, _ = load(tmp_path, RIGHT + "trainer: {devices: 2, strategy: fsdp}")
    with pytest.raises(HarnessError, match="does not train on 1 device: fsdp is for several"):
        with_devices(case, 1)
