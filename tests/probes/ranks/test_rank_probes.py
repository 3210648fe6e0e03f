"""Probes of two ranks on the CPU: they train together, and none waits for one that has ended."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from projects import MIB, WORKLOADS, workload

from harness.devices.cpu import CpuDevice
from harness.errors import WorkloadError
from harness.probes.inference_probe import infer, samples_in_pass
from harness.probes.runner import ProbeRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.measurement import Probe
    from harness.protocol.case import WorkloadSpec

pytestmark = pytest.mark.probes
RANKS: dict[str, Any] = {"devices": 2}


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProbeRunner]:
    """Start the zygotes of two ranks, each with 64 MiB."""
    logs = tmp_path_factory.mktemp("logs")
    path = [str(WORKLOADS), *sys.path]
    with ProbeRunner(
        workload("zoo.Net"), CpuDevice(64 * MIB, 2), RANKS, logs, sys_path=path
    ) as runner:
        yield runner


@pytest.fixture
def turned(two_ranks: ProbeRunner, tmp_path: Path) -> Callable[..., ProbeRunner]:
    """Return a function that turns the ranks to another workload."""

    def turn(spec: WorkloadSpec, timeout: float = 60.0, **trainer: Any) -> ProbeRunner:
        two_ranks.turn_to(spec, RANKS | trainer, tmp_path, timeout=timeout, global_batch_size=None)
        return two_ranks

    return turn


def one_rank(what: str, which: int = 1) -> WorkloadSpec:
    """Make the workload in whose second step one rank does something else."""
    return workload("ranks_zoo.OneRank", module_args={"what": what, "which": which})


def training(name: str, **init_args: Any) -> WorkloadSpec:
    """Make the workload of a training of its own."""
    made = {"class_path": f"ranks_zoo.{name}", "init_args": init_args}
    return workload("", None) | {"module": None, "training": made}  # type: ignore[return-value]


def seen(log: Path) -> list[list[float]]:
    """Return what a rank has printed of its first two batches."""
    return [
        ast.literal_eval(line)
        for line in re.findall(r"^seen [01] (.*)$", log.read_text(), re.MULTILINE)
    ]


def test_two_ranks_train_together(turned: Callable[..., ProbeRunner]) -> None:
    """A batch is one rank's, the samples are those of both, and the peak has its rank."""
    probe = turned(workload("zoo.Net")).train(8, steps=3, validation_steps=1)
    assert ("fits", 3, 2 * 3 * 8) == (probe.outcome, probe.steps, probe.samples)
    assert probe.rank in (0, 1)
    assert probe.peak_memory_bytes is not None
    # Parameters, gradients, two moments, and the buckets of DistributedDataParallel.
    assert 5 * 4 * 4096 * 19 < probe.peak_memory_bytes < 64 * MIB


def test_each_rank_has_samples_of_its_own(turned: Callable[..., ProbeRunner]) -> None:
    """Lightning's sampler gives them, and the same ones in each probe."""
    runner = turned(workload("ranks_zoo.SeesSamples"))
    batches = []
    for _ in range(2):
        probe = runner.train(16, steps=2)
        first, second = map(seen, logs_of(probe))
        batches.append((first, second))
    assert batches[0] == batches[1]
    mine, others = ({*one[0], *one[1]} for one in batches[0])
    assert (32, 32, set()) == (len(mine), len(others), mine & others)


def test_the_data_must_have_a_batch_for_each_rank(turned: Callable[..., ProbeRunner]) -> None:
    """Of 32 samples a rank has 16, and no full batch of 17; the description knows that, too."""
    runner = turned(workload("zoo.Net", data_args={"num_samples": 32}))
    outcomes = [runner.train(size, steps=1).outcome for size in (16, 17)]
    assert (["fits", "dataset"], 16) == (outcomes, runner.describe().num_samples)


def logs_of(probe: Probe) -> list[Path]:
    """Return the logs of both ranks of a probe."""
    log = Path(probe.log or "")
    first = log.with_name(re.sub("-rank1", "", log.name))
    return [first, first.with_name(f"{first.stem}-rank1.log")]


def test_a_validation_batch_is_one_ranks(turned: Callable[..., ProbeRunner]) -> None:
    """Each rank validates on its share of 4096 samples, beside all of training's state."""
    runner = turned(workload("zoo.Net"))
    assert 2048 == runner.describe().num_validation_samples
    fits, runs_out, too_many = (
        runner.train(1, steps=2, validation_steps=2, validation_batch_size=size)
        for size in (100, 2048, 2049)
    )
    assert ["fits", "oom", "dataset"] == [one.outcome for one in (fits, runs_out, too_many)]
    assert "validation" == runs_out.phase
    assert runs_out.rank in (0, 1)


def test_an_inference_batch_is_one_ranks(turned: Callable[..., ProbeRunner]) -> None:
    """Each rank runs its share of the loader, and nobody wraps the module."""
    runner = turned(workload("zoo.Net"))
    assert 2048 == samples_in_pass(runner, "validate")
    fits, too_many = (infer(runner, "validate", size, batches=2) for size in (100, 2049))
    assert ("fits", 2 * 2 * 100) == (fits.outcome, fits.samples)
    # The module alone, and some activations of 4096 numbers for each sample.
    assert 4 * 4096 * 19 < (fits.peak_memory_bytes or 0) < 4 * 4096 * 19 + 8 * MIB
    assert ("dataset", "the validation data hold no full batch of 2049") == (
        too_many.outcome,
        (too_many.detail or "").split(": ")[1],
    )


@pytest.mark.slow
def test_each_rank_trains_on_the_worst_batches(turned: Callable[..., ProbeRunner]) -> None:
    """They are those of the whole data: any of them may come to any rank."""
    spec = workload("ranks_zoo.SeesLengths", "texts_zoo.Texts") | {"worst_batches": True}
    probe = turned(spec).train(8, steps=7, settle=False)
    assert "fits" == probe.outcome, probe
    lengths = [
        re.findall(r"^length (\d+)$", log.read_text(), re.MULTILINE) for log in logs_of(probe)
    ]
    assert [True, True] == ["400" in of_rank for of_rank in lengths]


def test_one_rank_out_of_memory_is_out_of_memory(turned: Callable[..., ProbeRunner]) -> None:
    """The rank is named, and no process is left that waits for it."""
    runner = turned(one_rank("runs_out"))
    before = {*psutil.Process().children(recursive=True)}
    probe = runner.train(8, steps=3)
    assert ("oom", 1, "forward") == (probe.outcome, probe.rank, probe.phase)
    assert "tried to allocate 4294967296 bytes" in (probe.detail or "")
    # Who has ended may still wait for its parent to notice.
    left = {*psutil.Process().children(recursive=True)} - before
    assert [] == [one for one in left if one.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize(
    ("what", "detail"),
    [
        ("raises", "ValueError: not this one"),
        ("is_killed", "was killed by SIGKILL"),
        ("leaves", "ended itself without an error (os._exit or the like)"),
        ("exits", "exited with code 7"),
    ],
)
@pytest.mark.parametrize("which", [0, 1])
def test_a_rank_that_fails_is_the_reason(
    turned: Callable[..., ProbeRunner], what: str, detail: str, which: int
) -> None:
    """However it ends; what its absence does to the other rank is not told."""
    probe = turned(one_rank(what, which)).train(8, steps=3)
    assert ("error", which, detail) == (probe.outcome, probe.rank, probe.detail)


def test_a_rank_that_hangs_ends_with_the_time_out(turned: Callable[..., ProbeRunner]) -> None:
    """The other one waits in a collective; both phases are told."""
    probe = turned(one_rank("hangs"), timeout=4.0).train(8, steps=3)
    assert (
        "error",
        "timed out after 4 s (rank 0 in backward, rank 1 in forward)",
    ) == (probe.outcome, probe.detail)


def test_a_sweep_has_the_mean_loss_of_the_ranks(turned: Callable[..., ProbeRunner]) -> None:
    """As many steps as rates, and nothing refused."""
    sweep = turned(workload("zoo.Net")).sweep(16, [1e-4, 1e-3, 1e-2], seed=0)
    assert sweep.curve is not None, sweep
    assert (3, None) == (len(sweep.curve.losses), sweep.refusal)


def test_timed_steps_are_those_of_all_ranks(turned: Callable[..., ProbeRunner]) -> None:
    """The speed is the sum of what the ranks train."""
    probe = turned(workload("zoo.Net")).train(16, steps=5, timed_seconds=0.2)
    assert "fits" == probe.outcome, probe
    assert probe.samples_per_second is not None
    # Three steps warm up, and one batch is not timed.
    assert 2 * 16 * (5 - 1) <= probe.samples


@pytest.mark.parametrize("name", ["Stepping", "loop"])
def test_a_training_of_ones_own_runs_in_ranks(
    turned: Callable[..., ProbeRunner], name: str
) -> None:
    """It finds its rank as under torchrun, and what wraps its model counts."""
    runner = turned(training(name))
    probe = runner.train(8, steps=3)
    assert ("fits", 3) == (probe.outcome, probe.steps), probe
    assert 5 * 4 * 4096 * 19 < (probe.peak_memory_bytes or 0) < 64 * MIB
    assert f"ranks_zoo.{name}" == runner.describe().workload["data"]


def test_a_training_of_ones_own_out_of_memory(turned: Callable[..., ProbeRunner]) -> None:
    """One rank ran out, and the other one waits in its backward pass."""
    probe = turned(training("Stepping", wrong="runs_out")).train(8, steps=3)
    assert ("oom", 1) == (probe.outcome, probe.rank), probe


@pytest.mark.slow
def test_a_trainer_of_transformers_trains_in_ranks(turned: Callable[..., ProbeRunner]) -> None:
    """It wraps its model by itself, over gloo; its batch is one rank's, and a sweep has a curve."""
    spec = workload("", None) | {
        "module": None,
        "training": {"class_path": "transformers_zoo.pictures", "init_args": {}},
    }
    runner = turned(spec)
    probe = runner.train(8, steps=3, validation_steps=1)
    assert ("fits", 3, 2 * 3 * 8) == (probe.outcome, probe.steps, probe.samples), probe
    assert 50 == runner.describe().num_samples
    sweep = runner.sweep(8, [1e-4, 1e-3, 1e-2], seed=0)
    assert sweep.curve is not None, sweep
    assert 3 == len(sweep.curve.losses)


@pytest.mark.parametrize("which", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_what_holds_the_memory_is_told_of_the_worst_rank(
    turned: Callable[..., ProbeRunner], tmp_path: Path, which: int
) -> None:
    """The file is that of the rank with the largest peak; gradients have buckets beside them."""
    file = tmp_path / "held.json"
    turned(one_rank("keeps", which)).holders(8, steps=3, file=file)
    held = json.loads(file.read_text())["holders"]
    # The peak may come while a number more is there, such as the loss's gradient: of 4 or 8 bytes.
    assert 4 * MIB in [num_bytes // 16 * 16 for *_, num_bytes in held]
    # Both have 19 numbers for each of 512 units, and two more.
    assert 2 * 4 * (512 * 19 + 2) in [
        num_bytes // 16 * 16 for *place, num_bytes in held if place == ["gradient", "", ""]
    ]
    assert ["held.json"] == [path.name for path in tmp_path.iterdir() if path.suffix == ".json"]


def test_a_workload_that_cannot_be_built_is_told_once(tmp_path: Path) -> None:
    """All zygotes have the error; the first one's is raised, and none is left."""
    spec = workload("zoo.Net", module_args={"no": "such"})
    path = [str(WORKLOADS), *sys.path]
    runner = ProbeRunner(spec, CpuDevice(64 * MIB, 2), RANKS, tmp_path, sys_path=path)
    with pytest.raises(WorkloadError, match="unexpected keyword argument 'no'"), runner:
        pass


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zoo.StartsThread", "constructor_zoo.TakesOver"])
def test_ranks_find_each_other_whatever_a_constructor_does(tmp_path: Path, name: str) -> None:
    """A thread makes each rank start a new Python; another constructor empties the environment."""
    path = [str(WORKLOADS), *sys.path]
    runner = ProbeRunner(
        workload(name), CpuDevice(64 * MIB, 2), RANKS, tmp_path, sys_path=path, timeout=120
    )
    with runner:
        probe = runner.train(8, steps=2)
    assert ("fits", 32) == (probe.outcome, probe.samples), probe


@pytest.mark.slow
def test_one_rank_out_of_memory_ends_in_20_of_20_runs(turned: Callable[..., ProbeRunner]) -> None:
    """Within the time-out, whichever of both it is."""
    found = []
    for number in range(20):
        probe = turned(one_rank("runs_out", number % 2)).train(8, steps=3)
        found.append((probe.outcome, probe.rank, probe.seconds < 60))
    assert 10 * [("oom", 0, True), ("oom", 1, True)] == found
