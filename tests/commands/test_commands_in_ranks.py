"""Commands that start their ranks themselves: the worst rank counts, and none is waited for."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from command_requests import train_request

from harness.commands import probe
from harness.devices.cpu import CpuDevice

if TYPE_CHECKING:
    from harness.protocol.messages import TrainResult

PROGRAMS = Path(__file__).parents[1] / "programs"
MIB = 1 << 20
LAUNCHER = [
    *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
    *("--nproc-per-node", "2", str(PROGRAMS / "in_ranks.py"), "--batch-size=${batch_size}"),
]
# Weights, gradients, two moments and DDP's buckets, each of 4096 units with 19 numbers of 4 bytes.
STATE_BYTES = 5 * 4 * 4096 * 19


@pytest.fixture(autouse=True)
def _of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables that a probe on the CPU has."""
    for name, value in CpuDevice.environment.items():
        monkeypatch.setenv(name, value)


def train(*options: str, devices: int = 2, words: list[str] = LAUNCHER) -> TrainResult:
    """Run a command at a batch of 64, in ranks of 64 MiB each."""
    request = train_request(64, devices=devices)
    return probe.train([*words, *options], request, lambda _: None)


def told(result: TrainResult) -> tuple[Any, ...]:
    """Return how a probe ended, and which rank it is about."""
    return result["outcome"], result["rank"], (result["detail"] or "").split(": you")[0]


def running(argument: str) -> list[int]:
    """Return the processes with an argument that are there."""
    processes = psutil.process_iter(["cmdline"])
    return [one.pid for one in processes if argument in (one.info["cmdline"] or [])]


@pytest.mark.slow
def test_the_peak_is_that_of_the_worst_rank() -> None:
    """Both have the budget for themselves, and the samples are those of both."""
    plain, uneven = train(), train("--more=20")
    assert ("fits", 4, 2 * 4 * 64) == (plain["outcome"], plain["steps"], plain["samples"]), plain
    # Beside the state a network of this width has some activations of 1 MiB each.
    assert STATE_BYTES < (plain["peak_memory_bytes"] or 0) < STATE_BYTES + 8 * MIB
    assert ("fits", 1) == (uneven["outcome"], uneven["rank"])
    more = (uneven["peak_memory_bytes"] or 0) - (plain["peak_memory_bytes"] or 0)
    assert 20 * MIB == pytest.approx(more, abs=MIB)


@pytest.mark.parametrize(
    ("wrong", "which", "expected"),
    [
        pytest.param(
            *("runs-out", 1, ("oom", 1)),
            id="out of memory",
        ),
        pytest.param(*("catches-oom", 0, ("oom", 0)), id="caught", marks=pytest.mark.slow),
        pytest.param(*("raises", 0, ("error", 0)), id="raises", marks=pytest.mark.slow),
        pytest.param(*("is-killed", 1, ("error", 1)), id="killed", marks=pytest.mark.slow),
        pytest.param(*("exits", 1, ("error", 1)), id="exits", marks=pytest.mark.slow),
    ],
)
def test_a_rank_that_fails_is_the_reason(wrong: str, which: int, expected: tuple[str, int]) -> None:
    """However it ends, and the other one does not wait for it."""
    details = {
        "runs-out": "DefaultCPUAllocator: can't allocate memory",
        "catches-oom": "DefaultCPUAllocator: can't allocate memory",
        "raises": "ValueError: not this one",
        "is-killed": "a process of the program was killed by SIGKILL",
        "exits": "a process of the program exited with code 7",
    }
    tag = f"--tag={uuid.uuid4()}"
    outcome, rank, detail = told(train(f"--wrong={wrong}", f"--which={which}", tag))
    assert [] == running(tag)
    assert (*expected, True) == (outcome, rank, detail.endswith(details[wrong])), detail


@pytest.mark.slow
def test_a_command_that_starts_too_few_ranks_is_told() -> None:
    """One process is never measured in the place of two."""
    words = [sys.executable, str(PROGRAMS / "plain_loop.py"), "--batch-size=${batch_size}"]
    outcome, _, detail = told(train(words=words))
    expected = "the command trained in a process that is no rank, and trainer.devices is 2: let it"
    assert ("error", expected) == (outcome, detail[: len(expected)])
