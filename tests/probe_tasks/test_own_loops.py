"""A function that trains is probed as it is: its own loop runs, and the probe ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import loops_zoo
import pytest
import torch
from lr_sweep_workloads import run
from projects import workload
from training_probes import Probing

from harness.probe_tasks.describe import describe
from harness.workload.build import build

if TYPE_CHECKING:
    from projects import StartRunner

    from harness.protocol.case import WorkloadSpec

# Lightning warns about a module without parameters.
pytestmark = pytest.mark.filterwarnings("ignore")


def loop(name: str, **init_args: Any) -> WorkloadSpec:
    """Make the workload of a loop of the zoo."""
    spec = workload("", None)
    made = {"class_path": f"loops_zoo.{name}", "init_args": init_args}
    return spec | {"module": None, "training": made}  # type: ignore[return-value]


def described(name: str, **init_args: Any) -> dict[str, Any]:
    """Describe a loop of the zoo."""
    bound = {"accelerator": "cpu", "budget_bytes": 1 << 30}
    request: Any = {"bound": bound, "trainer": {}, "batch_size": 2}
    return {**describe(build(loop(name, **init_args)), request, lambda _: None, {})}


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Probing:
    """Run probes here."""
    return Probing(monkeypatch)


def test_a_probe_ends_the_loop_after_its_own_steps(probe: Probing) -> None:
    """Each of all its accumulated batches, with the phases of a step; nothing is left behind."""
    before = torch.optim.Optimizer.__init__
    found = probe(spec=loop("plain", accumulate=2))
    assert ("fits", 3, 24) == (found["outcome"], found["steps"], found["samples"])
    step = ["forward", "backward", "forward", "backward", "forward", "optimizer", "data"]
    assert ["setup", "data", *step] == probe.phases[:9]
    assert 3 == len(loops_zoo.steps)
    assert before is torch.optim.Optimizer.__init__


def test_two_models_in_turn_take_one_batch_each_step(probe: Probing) -> None:
    """The second optimizer's step belongs to the batch that the first one's has ended."""
    found = probe(spec=loop("adversaries"))
    assert ("fits", 3, 24) == (found["outcome"], found["steps"], found["samples"])


def test_handlers_of_the_loop_do_not_keep_it_alive(probe: Probing) -> None:
    """What ends it is no Exception."""
    assert "fits" == probe(spec=loop("catching"))["outcome"]


def test_data_without_a_full_batch_end_the_search(probe: Probing) -> None:
    """A loop that waits for the first full batch would never end."""
    fits, ends = (probe(spec=loop("loading"), batch_size=size) for size in (100, 101))
    assert ("fits", "dataset") == (fits["outcome"], ends["outcome"])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (loop("plain", max_steps=1), "loops_zoo.plain ended by itself after 1 optimizer step: "),
        (loop("plain", max_steps=2), "loops_zoo.plain ended by itself after 2 steps: let it"),
        (loop("stepless"), "loops_zoo.stepless ended by itself after 0 steps: let it"),
        (loop("failing"), "ValueError: the third step"),
    ],
)
def test_loops_that_end_themselves_are_told(
    probe: Probing, spec: WorkloadSpec, message: str
) -> None:
    """With what to do, or as their own failure."""
    found = probe(spec=spec)
    assert ("error", True) == (found["outcome"], message in found["detail"]), found["detail"]


def test_description_is_that_of_the_models_at_the_first_batch() -> None:
    """Another width is another workload, and nothing was trained."""
    one, same, other = (
        described("plain"), described("plain", accumulate=2), described("plain", width=8)
    )  # fmt: skip
    assert (1218, [True, False]) == (
        one["workload"]["num_parameters"],
        [one["fingerprint"] == another["fingerprint"] for another in (same, other)],
    )
    assert [] == loops_zoo.steps


def test_sweep_sets_the_rates_within_the_steps() -> None:
    """Whatever the loop sets by hand; the loss of a step is that of its accumulated batches."""
    rates = [0.001, 0.01, 0.1]
    found: dict[str, Any] = run(loop("plain", accumulate=4), rates=rates)
    assert (None, rates, rates) == (found["refusal"], loops_zoo.steps, found["learning_rates"])
    assert pytest.approx(0.7, abs=0.1) == found["losses"][0]


def test_sweep_beyond_the_end_of_a_loop_is_refused() -> None:
    """A loop that is too short says nothing of its learning rate: it has not diverged."""
    found: dict[str, Any] = run(loop("plain", max_steps=2), rates=[0.001, 0.01, 0.1])
    assert "loops_zoo.plain ended by itself after 2 steps: let it" in found["refusal"]


def test_sweep_of_two_optimizers_is_refused() -> None:
    """There is no one rate to set."""
    assert "the workload has 2 optimizers" in run(loop("adversaries"))["refusal"]


def test_data_of_a_loop_do_not_count_and_its_model_does(start: StartRunner) -> None:
    """The limit begins with the first batch: 32 MiB of data are no part of the case."""
    small, wide, much = (
        start(loop("plain", **init_args)).train(8, steps=2).peak_memory_bytes or 0
        for init_args in ({}, {"width": 100_000}, {"num_samples": 500_000})
    )
    mib = 1 << 20
    # 19 values a unit, with their gradients and the hidden layer's activations.
    assert 14 * mib < wide - small < 30 * mib
    assert much - small < mib
