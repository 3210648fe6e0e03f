"""Claims on a part of a GPU's memory, held as locks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness.devices.sharing import NUM_SEATS, Neighbours, lock_a_part, neighbours
from harness.file_locks import holder_of, is_locked, try_lock

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import sys
from pathlib import Path
from harness.devices.sharing import lock_a_part
held = lock_a_part(Path(sys.argv[1]), 60, 100)
print("holds" if held else "refused", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def gpu(tmp_path: Path) -> Path:
    """Return the lock file of a GPU with 100 bytes, which nobody has used."""
    return tmp_path / "gpu-profile-GPU-a.lock"


def test_claims_fit_up_to_the_memory(gpu: Path) -> None:
    """Two cases share; a third one whose claim does not fit beside them waits, and then fits."""
    first, second = lock_a_part(gpu, 40, 100), lock_a_part(gpu, 60, 100)
    assert first is not None
    assert second is not None
    assert None is lock_a_part(gpu, 1, 100)
    second.release()
    assert lock_a_part(gpu, 50, 100) is not None


def test_case_that_needs_the_gpu_waits_for_those_that_share(gpu: Path) -> None:
    """The whole GPU is locked only when nobody shares it, and nobody shares it then."""
    part = lock_a_part(gpu, 40, 100)
    assert part is not None
    assert (None, True) == (try_lock(gpu), is_locked(gpu))
    assert f"process {os.getpid()}" in holder_of(gpu)
    part.release()
    whole = try_lock(gpu)
    assert whole is not None
    assert None is lock_a_part(gpu, 40, 100)
    whole.release()
    assert lock_a_part(gpu, 40, 100) is not None


def test_neighbours_are_counted_with_their_claims(gpu: Path) -> None:
    """A case sees the others on its GPU, and not itself."""
    own = lock_a_part(gpu, 40, 100)
    others = [lock_a_part(gpu, 10, 100) for _ in range(2)]
    assert None not in others
    assert (Neighbours(2, 20), Neighbours(3, 60)) == (neighbours(gpu, own), neighbours(gpu))


def test_claim_of_a_killed_case_is_free(gpu: Path) -> None:
    """SIGKILL leaves a claim in its file that nobody holds, and so nothing is claimed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(gpu)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        assert "holds\n" == process.stdout.readline()
        assert None is lock_a_part(gpu, 60, 100)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert lock_a_part(gpu, 60, 100) is not None


def test_seats_are_limited(gpu: Path) -> None:
    """So many cases share a GPU at most, however little each claims."""
    held = [lock_a_part(gpu, 1, 100) for _ in range(NUM_SEATS)]
    assert (0, None) == (held.count(None), lock_a_part(gpu, 1, 100))


@pytest.mark.parametrize(
    "text", [b"", b"4711 host\n", b"claim -1\n", b"claim 9e9\n", b"\xff" * 999]
)
def test_claim_that_cannot_be_read_is_all_of_the_memory(gpu: Path, text: bytes) -> None:
    """Who holds a seat and says nothing of use may use everything."""
    seat = gpu.with_name("gpu-profile-GPU-a-seat-0.lock")
    held = try_lock(seat)
    assert held is not None
    seat.write_bytes(text)
    assert None is lock_a_part(gpu, 1, 100)


def test_link_in_the_place_of_a_seat_is_passed_over(gpu: Path, tmp_path: Path) -> None:
    """A link that somebody has put there is not followed, and costs a seat."""
    gpu.with_name("gpu-profile-GPU-a-seat-0.lock").symlink_to(tmp_path / "victim")
    assert lock_a_part(gpu, 1, 100) is not None
    assert not (tmp_path / "victim").exists()
