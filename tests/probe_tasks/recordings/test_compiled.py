"""Memory that libraries reserve for kernels which they compile while a training runs."""

from __future__ import annotations

import mmap
import platform
from typing import TYPE_CHECKING

import pytest
from host_holders import hold

from harness.probe_tasks.recordings.compiled import compiled_bytes

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


def test_what_may_be_written_and_executed_counts() -> None:
    """All that is reserved counts, written or not; ordinary memory does not."""
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    before = compiled_bytes()
    code = mmap.mmap(-1, MIB, flags=private, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    data = mmap.mmap(-1, MIB, flags=private, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    assert MIB == compiled_bytes() - before
    code.close()
    data.close()
    assert before == compiled_bytes()


@pytest.mark.filterwarnings("ignore")  # Lightning's, about few workers
@pytest.mark.skipif(platform.machine() != "x86_64", reason="oneDNN compiles its kernels on x86")
def test_kernels_of_a_convolution_are_a_kind_of_their_own(tmp_path: Path) -> None:
    """A batch size that this process has not had makes oneDNN compile; the sum is the peak."""
    held = hold(tmp_path, "memory_zoo.Convolution", 37)
    assert held.by_kind()["kernel"] > 0
    assert held.peak_bytes == held.by_kind().total()
