"""Values that follow from zeros, within torch's own contexts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

SCRIPT = """
from harness.probe_tasks.zeros.table import consistent_zeros
with consistent_zeros(), torch.device("cuda"):
    made = [torch.ones(2), torch.arange(2), torch.full((2,), 3), torch.tensor([1, 2]), torch.zeros(2)]
    tell([one.device.type for one in made])
"""


def test_tensors_of_a_device_context_are_on_its_device(worlds: Worlds) -> None:
    """Functions that keep what they make are known to `with torch.device`, as all others."""
    (devices,) = worlds.run(worlds.make(), SCRIPT)
    assert ["cuda"] * 5 == devices
