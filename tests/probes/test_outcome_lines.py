"""The line that describes a probe."""

from __future__ import annotations

from dataclasses import replace

import pytest
from case_results import ERROR, FITS, MIB, OOM

from harness.measurement import Probe
from harness.probes.outcomes import describe_probe


@pytest.mark.parametrize(
    ("probe", "limit", "expected"),
    [
        (FITS, 256 * MIB, "batch 471 fits, peak 250.1 MiB of 256.0 MiB, 1.2 s"),
        (FITS, None, "batch 471 fits, peak 250.1 MiB, 1.2 s"),
        (replace(FITS, peak_memory_bytes=None), 256 * MIB, "batch 471 fits, 1.2 s"),
        (
            replace(FITS, kind="validation"),
            256 * MIB,
            "validation batch 471 fits, peak 250.1 MiB of 256.0 MiB, 1.2 s",
        ),
        (OOM, 256 * MIB, "batch 472 out of memory in backward, 1.1 s"),
        (replace(OOM, phase=None, detail=None), 256 * MIB, "batch 472 out of memory, 1.1 s"),
        (
            replace(ERROR, detail="killed by SIGSEGV\nmore"),
            None,
            "batch 1 failed in forward: killed by SIGSEGV, 0.9 s",
        ),
        (replace(ERROR, detail=None, phase=None), None, "batch 1 failed, 0.9 s"),
        (
            Probe(1798, "dataset", phase="data", seconds=0.4),
            None,
            "batch 1798 is more than the data holds, 0.4 s",
        ),
    ],
)
def test_one_line_per_probe(probe: Probe, limit: int | None, expected: str) -> None:
    """A probe is described in one line: batch, outcome, phase, reason, seconds."""
    assert expected == describe_probe(probe, limit)
