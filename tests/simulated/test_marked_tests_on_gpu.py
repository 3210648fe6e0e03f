"""The mark `gpu_memory` on ordinary tests of a user's, on a simulated GPU."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest
from simulated_worlds import inside

if TYPE_CHECKING:
    from pathlib import Path

    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

TESTS = """\
import pytest, torch

@pytest.fixture
def weights():
    return torch.zeros(1 << 20, device="cuda")  # 4 MiB, line 5

@pytest.mark.gpu_memory("8 MiB")
def test_within(weights):
    torch.zeros(1 << 20, device="cuda")

@pytest.mark.gpu_memory("20 MiB")
class TestSteps:
    def test_too_much(self, weights):
        first = torch.ones(4 << 20, device="cuda")  # 16 MiB, line 14
        del first
        gone = [torch.ones(2 << 20, device="cuda") for _ in range(3)]  # 24 MiB, line 16
        del gone
        torch.ones(1 << 20, device="cuda")

    @pytest.mark.gpu_memory(limit="1 GiB")
    def test_nearest_mark_counts(self, weights):
        torch.ones(8 << 20, device="cuda")

    def test_that_fails(self):
        torch.ones(16 << 20, device="cuda")
        assert False, "its own failure"

    def test_out_of_memory(self):
        kept = torch.ones(16 << 20, device="cuda")  # 64 MiB, line 29
        torch.empty(1 << 40, device="cuda")

@pytest.mark.gpu_memory("2 gigs")
def test_no_size():
    pass
"""


def run(folder: Path, environment: dict[str, str], *flags: str) -> str:
    """Run the tests in a folder; return what pytest printed."""
    (folder / "test_net.py").write_text(TESTS, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--strict-markers", *flags],
        env=environment,
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=280,
    )
    return done.stdout


def test_peak_above_the_mark_fails_and_names_the_lines(tmp_path: Path, worlds: Worlds) -> None:
    """The nearest mark's limit holds from set-up on; an excess is told with the lines, sorted."""
    output = run(tmp_path, inside(worlds.make()), "--junitxml=junit.xml", "-ojunit_family=xunit1")
    lines = output.splitlines()
    assert "= 3 failed, 2 passed, 1 error in" in lines[-1]
    at = next(number for number, line in enumerate(lines) if "TestSteps.test_too_much _" in line)
    assert [
        "the test took 28.0 MiB of GPU memory, and 20.0 MiB are allowed",
        "at the peak it was held by:",
        "  24.0 MiB  test_net.py:16",
        "   4.0 MiB  test_net.py:5",
    ] == lines[at + 1 : at + 5]
    # A test that fails for itself is not judged, and one out of memory says what held it.
    assert 1 == lines.count("E       AssertionError: its own failure")
    assert "  64.0 MiB  test_net.py:29" in lines
    assert any('the mark gpu_memory: "2 gigs" has no known unit' in line for line in lines)
    peaks = {
        case.get("name"): [int(str(one.get("value"))) >> 20 for one in case.iter("property")]
        for case in ET.parse(tmp_path / "junit.xml").iter("testcase")  # noqa: S314 - as above
    }
    assert {
        "test_within": [8],
        "test_too_much": [28],
        "test_nearest_mark_counts": [36],
        "test_that_fails": [64],
        "test_out_of_memory": [64],
        "test_no_size": [],
    } == peaks


def test_marked_tests_are_skipped_without_a_gpu(tmp_path: Path) -> None:
    """Where torch sees no GPU nothing could be measured, and the skip says how to."""
    output = run(tmp_path, {**os.environ, "CUDA_VISIBLE_DEVICES": ""}, "-rs")
    assert "torch sees no CUDA GPU, so the mark gpu_memory has nothing to measure" in output
    assert "5 skipped, 1 error" in output
