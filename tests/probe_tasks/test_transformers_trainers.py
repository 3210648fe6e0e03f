"""A transformers.Trainer is probed as it is: its own loop runs, and a probe ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from lr_sweep_workloads import run
from projects import workload
from training_probes import Probing

if TYPE_CHECKING:
    from harness.protocol.case import WorkloadSpec

pytestmark = pytest.mark.filterwarnings("ignore")


def training(name: str, **init_args: Any) -> WorkloadSpec:
    """Make the workload of a Trainer of the zoo."""
    spec = workload("", None)
    made = {"class_path": f"transformers_zoo.{name}", "init_args": init_args}
    return spec | {"module": None, "training": made}  # type: ignore[return-value]


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Probing:
    """Run probes here."""
    return Probing(monkeypatch)


def test_a_probe_takes_the_steps_of_the_trainer_itself(probe: Probing) -> None:
    """As many as any other probe: three of them, each of all its accumulated batches."""
    found = probe(spec=training("plain", gradient_accumulation_steps=4))
    assert (None, "fits", 3, 96) == (
        found["traceback"],
        found["outcome"],
        found["steps"],
        found["samples"],
    )


def test_a_sweep_sets_the_rates_of_the_trainers_optimizer() -> None:
    """Its schedule goes on, and changes nothing; each step has its loss."""
    rates = (1e-3, 2e-3, 3e-3)
    found = run(training("plain"), rates=rates)
    assert ("fits", None) == (found["outcome"], found["refusal"])
    assert len(rates) == len(found["losses"])
