"""Cases that span simulated GPUs: ranks over NCCL, and one of them that fails."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from projects import WORKLOADS
from simulated_worlds import h100

from harness.simulated.environment import inside

if TYPE_CHECKING:
    from simulate_verb import Simulate
    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

PROBES = """
import sys, tempfile
from pathlib import Path
sys.path.insert(0, WORKLOADS)
from harness.devices.finding import find_device
from harness.matrix.settings import GpuSettings
from harness.probes.runner import ProbeRunner

def spec(module, **init_args):
    return {
        "module": {"class_path": module, "init_args": init_args},
        "data": {"class_path": "zoo.Numbers", "init_args": {}},
        "loss": None, "optimizer": None, "batch_size_attr": None, "learning_rate_attr": None,
    }

folder = Path(tempfile.mkdtemp(dir=FOLDER))
trainer = {"devices": COUNT, "strategy": STRATEGY}
device = find_device(GpuSettings(name="*", budget=BUDGET), 0.9, count=COUNT)
with device.hold(), ProbeRunner(spec("zoo.Net"), device, trainer, folder, timeout=240) as runner:
    for module, init_args, batch, timeout in ASKED:
        runner.turn_to(
            spec(module, **init_args), trainer, folder, timeout=timeout, global_batch_size=None
        )
        probe = runner.train(batch, steps=3, validation_steps=1)
        told = probe.outcome, probe.rank, probe.phase, probe.steps, probe.samples
        memory = probe.peak_memory_bytes, probe.peak_allocated_bytes, probe.non_torch_bytes
        tell([*told, *memory, probe.detail])
"""
TRAINING = """
import sys; sys.path.insert(0, {workloads!r})
import lightning.pytorch as pl
from zoo import Net, Numbers
trainer = pl.Trainer(accelerator="gpu", devices=2, strategy="ddp", max_steps=3, logger=False,
    enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    limit_val_batches=0)
trainer.fit(Net(), datamodule=Numbers(batch_size=1000))
"""
COMMANDS = """
import sys, tempfile
from pathlib import Path
sys.path.insert(0, WORKLOADS)
from harness.devices.finding import find_device
from harness.matrix.settings import GpuSettings
from harness.probes.runner import ProbeRunner

empty = dict.fromkeys(
    ["module", "data", "loss", "optimizer", "batch_size_attr", "learning_rate_attr"]
)
folder = Path(tempfile.mkdtemp(dir=FOLDER))
device = find_device(GpuSettings(name="*", budget=1 << 30), 0.9, count=2)

def train(workload, batch):
    with ProbeRunner(empty | workload, device, {"devices": 2}, folder, timeout=240) as runner:
        probe = runner.train(batch, steps=3)
        memory = probe.peak_memory_bytes, probe.peak_allocated_bytes, probe.non_torch_bytes
        return [probe.outcome, probe.rank, probe.samples, *memory, probe.detail]

with device.hold():
    for batch, options in ASKED:
        tell(train({"command": [*COMMAND, *options]}, batch))
    tell(train({"training": {"class_path": "ranks_zoo.Stepping", "init_args": {}}}, 1000))
"""
NET, ONE = "zoo.Net", "ranks_zoo.OneRank"


def probe(
    worlds: Worlds, count: int, asked: Any, strategy: str = "auto", budget: int = 1 << 30
) -> list[Any]:
    """Run probes of `count` ranks, each on a GPU of its own; return what each has told."""
    given = f"COUNT, ASKED, STRATEGY, BUDGET = {count}, {asked!r}, {strategy!r}, {budget}\n"
    given += f"FOLDER, WORKLOADS = {str(worlds.folder)!r}, {str(WORKLOADS)!r}\n"
    # Ranks send each other objects, as in a program under `gpu-profile simulate`.
    return worlds.fresh(worlds.make(*count * [h100()]), given + PROBES, **inside())


def one(what: str, which: int = 1) -> dict[str, Any]:
    """Return the arguments of a workload in whose second step one rank does something else."""
    return {"what": what, "which": which}


def test_two_ranks_end_in_each_way(worlds: Worlds) -> None:
    """They fit together; one that fails is named, and the other one never waits for it."""
    asked = [
        (NET, {}, 8, 240),
        (ONE, one("runs_out"), 8, 240),
        (ONE, one("raises", 0), 8, 240),
        (ONE, one("is_killed"), 8, 240),
        (ONE, one("exits", 0), 8, 240),
        (ONE, one("hangs"), 8, 15),
    ]
    fits, *failed = probe(worlds, 2, asked)
    assert ["fits", 3, 48] == [fits[0], *fits[3:5]], fits
    # The context, and nothing that is torch's.
    assert fits[7] >= 530 << 20
    found = [(outcome, rank, detail.split(". ")[0]) for outcome, rank, *_, detail in failed]
    assert [
        ("oom", 1, "OutOfMemoryError: CUDA out of memory"),
        ("error", 0, "ValueError: not this one"),
        ("error", 1, "was killed by SIGKILL"),
        ("error", 0, "exited with code 7"),
    ] == found[:4]
    assert ("error", True) == (found[4][0], found[4][2].startswith("timed out after 15 s (rank 0"))


def test_a_probe_finds_what_the_program_under_torchrun_takes(
    worlds: Worlds, simulate: Simulate
) -> None:
    """DDP's buckets included; a program also holds small tensors, of Lightning's own messages."""
    (found,) = probe(worlds, 2, [(NET, {}, 1000, 240)], "ddp")
    ended = simulate(
        str(sys.executable).replace("python", "torchrun"),
        *("--standalone", "--nproc-per-node", "2", "SCRIPT"),
        script=TRAINING.format(workloads=str(WORKLOADS)),
        flags=("--count", "2"),
    )
    assert 0 == ended.code, ended.errors
    tolerance = 4 << 20  # two of the smallest segments of torch's allocator
    for process in ended.told["processes"]:
        peaks = process["peak_reserved_bytes"], process["peak_allocated_bytes"]
        assert peaks == pytest.approx((found[5], found[6]), abs=tolerance)


@pytest.mark.slow
def test_command_in_ranks_is_measured_as_the_same_training(worlds: Worlds) -> None:
    """Each rank has a GPU, and a command's own launcher starts what a probe else starts."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program = str(WORKLOADS.parent / "programs" / "in_ranks.py")
    command = [sys.executable, *launcher, program, "--batch-size=${batch_size}"]
    asked = [
        (1000, []),
        (1000, ["--more=100", "--which=1"]),
        (1000, ["--more=2000", "--which=0"]),
        (1000, ["--wrong=is-killed", "--which=1"]),
    ]
    given = f"COMMAND, ASKED = {command!r}, {asked!r}\n"
    given += f"FOLDER, WORKLOADS = {str(worlds.folder)!r}, {str(WORKLOADS)!r}\n"
    world = worlds.make(*2 * [h100()])
    plain, more, oom, killed, stepping = worlds.fresh(world, given + COMMANDS, **inside())
    assert ["fits", 2 * 4 * 1000] == [plain[0], plain[2]], plain
    assert ["fits", 2 * 3 * 1000] == [stepping[0], stepping[2]], stepping
    assert stepping[4] == pytest.approx(plain[4], abs=1 << 20)
    assert plain[5] >= 530 << 20
    assert ["fits", 1, 100 << 20] == [*more[:2], pytest.approx(more[4] - plain[4], abs=1 << 20)]
    assert ["oom", 0] == oom[:2], oom
    assert ["error", 1, "a process of the program was killed by SIGKILL"] == [
        *killed[:2],
        killed[6],
    ]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["auto", "fsdp"])
def test_eight_ranks_train_and_one_runs_out(worlds: Worlds, strategy: str) -> None:
    """As many as a machine has GPUs."""
    asked = [(NET, {}, 8, 240), (ONE, one("runs_out", 5), 8, 240)]
    fits, failed = probe(worlds, 8, asked, strategy)
    assert ["fits", 3, 8 * 24] == [fits[0], *fits[3:5]], fits
    assert ["oom", 5] == failed[:2], failed


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["deepspeed_stage_2", "deepspeed_stage_3"])
def test_deepspeed_trains_where_it_is_installed(worlds: Worlds, strategy: str) -> None:
    """Its engine runs in ranks that the probe has started, and one rank may run out."""
    pytest.importorskip("deepspeed", exc_type=ImportError)
    asked = [(NET, {}, 8, 240), (ONE, one("runs_out"), 8, 240)]
    fits, failed = probe(worlds, 2, asked, strategy, budget=2 << 30)
    assert ["fits", 3, 2 * 24] == [fits[0], *fits[3:5]], fits
    assert ["oom", 1] == failed[:2], failed


@pytest.mark.slow
def test_one_rank_out_of_memory_ends_in_20_of_20_runs(worlds: Worlds) -> None:
    """Whichever of both it is."""
    asked = [(ONE, one("runs_out", number % 2), 8, 240) for number in range(20)]
    found = [told[:2] for told in probe(worlds, 2, asked)]
    assert 10 * [["oom", 0], ["oom", 1]] == found
