"""One process stands for all ranks of a case: it takes what each of them takes."""

from __future__ import annotations

import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from projects import WORKLOADS
from warm_zygotes import start_new

from harness.errors import HarnessError
from harness.matrix.ranks import with_devices
from harness.matrix.without_file import make_cases
from harness.predict.gpus import by_label
from harness.predict.prediction import held, predict
from harness.predict.simulation import Simulation
from harness.probes import zygote_process
from harness.probes.open_cases import Surroundings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.matrix.case import Case
    from harness.measurement import Probe
    from harness.predict.simulation import SimulatedCase

pytestmark = pytest.mark.simulated

MIB = 1 << 20
GPU = by_label("H100")
KINDS = ("fsdp2", "fsdp1", "ddp", "hsdp")


@pytest.fixture(autouse=True, scope="module")
def _new_zygotes(torch_server: object) -> Iterator[None]:
    """Let the zygotes of ranks begin as they do in use."""
    assert torch_server is not None  # it skips where no GPU can be simulated
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zygote_process, "start_program", start_new)
        yield


def case_of(model: dict[str, Any], devices: int) -> Case:
    """Return a case of several devices; a model in any way of the matrix."""
    made = make_cases(
        {**model, "search": {"steps_per_trial": 3}},
        {"name": "*", "budget": 2048 * MIB},
        labels=("net", "any"),
        search_path=[str(WORKLOADS)],
    )
    return with_devices(made[0], devices)


def spread(devices: int, training: str = "Spread", **init_args: Any) -> Case:
    """Return a case with a training of its own."""
    spec = {"class_path": f"worlds_zoo.{training}", "init_args": init_args}
    return case_of({"training": spec}, devices)


def lightning(devices: int, strategy: str) -> Case:
    """Return a case of Lightning's."""
    return case_of(
        {
            "module": {"class_path": "zoo.Net", "init_args": {"width": 100_000}},
            "data": {"class_path": "zoo.Numbers"},
            "trainer": {"devices": 2, "strategy": strategy},
        },
        devices,
    )


@contextmanager
def simulation(*, every_rank: bool = False) -> Iterator[tuple[Simulation, Surroundings]]:
    """Give a simulation, and where its cases run."""
    with tempfile.TemporaryDirectory() as folder, Simulation(every_rank=every_rank) as made:
        yield made, Surroundings(Path(folder), WORKLOADS, (str(WORKLOADS), *sys.path))


@dataclass(frozen=True)
class Asking:
    """Probes cases at a batch size."""

    simulation: Simulation
    surroundings: Surroundings

    def open(self, case: Case) -> SimulatedCase:
        """Open a case."""
        return self.simulation.open(case, GPU, None, self.surroundings)

    def __call__(self, case: Case, batch_size: int) -> Probe:
        """Train a case."""
        opened = self.open(case).opened
        return opened.runner.train(batch_size, steps=3, validation_steps=0)


@contextmanager
def asking(*, every_rank: bool = False) -> Iterator[Asking]:
    """Give what probes cases, by each rank or by rank 0 alone."""
    with simulation(every_rank=every_rank) as (made, surroundings):
        yield Asking(made, surroundings)


@pytest.fixture(scope="module")
def lone(_new_zygotes: None) -> Iterator[Asking]:
    """Give what probes cases by rank 0 alone; one zygote serves these tests."""
    with asking() as made:
        yield made


def peaks(probe: Probe) -> tuple[Any, ...]:
    """Return what a probe has taken, and how it ended."""
    assert probe.outcome == "fits", (probe.detail, probe.traceback)
    return probe.peak_memory_bytes, probe.peak_allocated_bytes, probe.samples


def test_one_process_takes_what_each_of_two_takes(lone: Asking) -> None:
    """`fully_shard`, with shares that are uneven: to the byte."""
    with asking(every_rank=True) as every:
        assert peaks(every(spread(2), 500)) == peaks(lone(spread(2), 500))


@pytest.mark.slow
def test_one_process_takes_what_each_of_eight_takes(lone: Asking) -> None:
    """By DDP, FSDP1 and `fully_shard`, also on a mesh of 2 x 4; shares are uneven: to the byte."""
    with asking(every_rank=True) as every:
        expected = {kind: peaks(every(spread(8, kind=kind), 500)) for kind in KINDS}
    assert expected == {kind: peaks(lone(spread(8, kind=kind), 500)) for kind in KINDS}


def test_a_world_of_1024_is_one_process_that_needs_seconds(lone: Asking) -> None:
    """Each rank holds less the more there are; a rank may be left without a row of a weight."""
    found = [lone(spread(number, width=2048), 500) for number in (1, 8, 64, 1024)]
    reserved = [probe.peak_memory_bytes or 0 for probe in found]
    assert sorted(reserved, reverse=True) == reserved
    assert reserved[-1] < 0.6 * reserved[0]
    uneven = lone(spread(1024), 500)
    assert ("fits", 3 * 1024 * 500) == (uneven.outcome, uneven.samples), uneven.detail


def test_ranks_that_talk_are_answered(lone: Asking) -> None:
    """Sums count each rank, and what is gathered comes from each, through NCCL and gloo."""
    for number in (4, 64):
        assert "fits" == lone(spread(number, "Talking"), 8).outcome


def test_gradients_that_wait_for_the_last_micro_batch_count(lone: Asking) -> None:
    """FSDP1's `no_sync` keeps them whole on each rank."""
    at_once = peaks(lone(spread(8, kind="fsdp1"), 64))[0]
    waiting = peaks(lone(spread(8, kind="fsdp1", accumulate=2), 64))[0]
    assert waiting > at_once + 40 * MIB


@pytest.mark.slow
def test_each_rank_has_its_share_of_the_data(lone: Asking) -> None:
    """A data set smaller than the world still gives each rank one sample."""
    case = lightning(64, "ddp")
    data = {"class_path": "zoo.Numbers", "init_args": {"num_samples": 40}}
    probe = lone(replace(case, workload={**case.workload, "data": data}), 1)  # type: ignore[typeddict-item]
    assert ("fits", 3 * 64) == (probe.outcome, probe.samples), probe.detail


def test_holders_are_those_of_a_rank(lone: Asking) -> None:
    """The optimizer of one of 64 ranks holds a 64th."""
    found = held(lone.open(spread(64)), 64)
    assert found is not None
    parameters = 16 * 1001 + 2 * (8 * 1001 * 1001 + 5 * 1001) + 2 * 1001
    assert 2 * 4 * parameters / 64 == pytest.approx(found.by_kind()["optimizer"], rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fsdp", "ddp"])
def test_lightning_in_one_process_takes_what_it_takes_in_eight(lone: Asking, strategy: str) -> None:
    """With its own wrappers, samplers and barriers."""
    case = lightning(8, strategy)
    with asking(every_rank=True) as every:
        assert peaks(every(case, 500)) == peaks(lone(case, 500))


@pytest.mark.slow
def test_one_process_finds_the_largest_batch_of_eight() -> None:
    """The whole search ends on the same batch, and at the same peak."""
    found = []
    for every_rank in (True, False):
        with simulation(every_rank=every_rank) as (made, surroundings):
            opened = made.open(spread(8), GPU, None, surroundings)
            prediction = predict(opened, GPU, with_holders=False)
        found.append((prediction.max_batch_size, prediction.peak_memory_bytes))
    assert found[0] == found[1]


@pytest.mark.slow
def test_each_rank_of_a_pipeline_runs() -> None:
    """The peak is that of the rank with the largest one, which is the last."""
    with asking() as ask:
        probe = ask(spread(2, "Pipeline"), 512)
    assert ("fits", 1) == (probe.outcome, probe.rank), probe.detail


@pytest.mark.slow
def test_a_pipeline_of_many_ranks_is_refused() -> None:
    """Its ranks differ, so all must run, and there are at most 32."""
    with asking() as ask, pytest.raises(HarnessError) as refused:
        ask.open(spread(64, "Pipeline"))
    assert "each rank of a pipeline has another stage" in str(refused.value)
