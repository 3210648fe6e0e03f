"""The values of properties are valid in XML, whatever others have named."""

from __future__ import annotations

from dataclasses import replace

from case_results import CPU, measurement, result
from hostile_words import HOSTILE, assert_harmless

from harness.report.junit_properties import properties_of


def test_hostile_values_are_made_visible() -> None:
    """Control characters, which no XML may hold, are escaped; a long text is cut."""
    device = replace(CPU, name=HOSTILE + "x" * 5000)
    found = dict(properties_of(result(measurement(device=device))))
    name = str(found["gpu_profile.device_name"])
    assert_harmless(name)
    assert (True, True) == (name.isprintable(), len(name) < 1000)
