"""Timing the training loader beside the step, in real probes with real workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from projects import workload

from harness.probe_tasks.loading import WorkersNotSetError, loader_with_workers
from harness.probes.loader_probe import ROUNDS, measure_loading
from harness.workload.build import build

if TYPE_CHECKING:
    from projects import StartRunner


def test_loader_and_step_are_timed_by_turns(start: StartRunner) -> None:
    """Each has its turns, with workers too; forty times the work takes longer than the step."""
    runner = start(workload("zoo.Net", "loading_zoo.Archive", data_args={"work": 40}))
    for number in (0, 2):
        found = measure_loading(runner.ask, 8, number)
        assert (None, None) == (found.refusal, found.failure)
        assert [ROUNDS, ROUNDS] == [len(found.step_seconds), len(found.load_seconds)]
        assert min(found.load_seconds) > max(found.step_seconds)


@pytest.mark.filterwarnings("ignore")  # Lightning's own, of torch's pytree
@pytest.mark.parametrize(
    ("data", "number", "expected"),
    [
        ("Deaf", 1, "keeps num_workers at 0 where Deaf.num_workers is 1: hand that to the Data"),
        ("WithoutWorkers", 0, "WithoutWorkers has no num_workers, as an attribute or in its hpar"),
        ("OwnLoader", 0, "the training loader, of type Own, is no DataLoader of torch"),
        ("Streaming", 0, "the training data, of type Endless, are a stream"),
    ],
)
def test_loaders_without_a_number_are_named(data: str, number: int, expected: str) -> None:
    """Where the workers cannot be set, the reason names the type and what to do."""
    built = build(workload("zoo.Net", f"loading_zoo.{data}"))
    with pytest.raises(WorkersNotSetError) as caught:
        loader_with_workers(built, 8, number)
    assert expected in str(caught.value)


def test_loader_without_a_number_is_a_refusal_of_its_probe(start: StartRunner) -> None:
    """The reason comes through, and is no failure."""
    runner = start(workload("zoo.Net", "loading_zoo.Streaming"))
    found = measure_loading(runner.ask, 8, 0)
    assert (None, True) == (found.failure, "are a stream" in str(found.refusal))


def test_worker_that_dies_is_told(start: StartRunner) -> None:
    """A worker that ends itself ends its probe, with torch's words and the log."""
    runner = start(workload("zoo.Net", "loading_zoo.Archive", data_args={"dies": True}))
    failure = str(measure_loading(runner.ask, 8, 1).failure)
    assert "RuntimeError: DataLoader worker (pid(s) " in failure
    assert ") exited unexpectedly (its output is in " in failure
