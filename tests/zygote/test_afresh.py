"""Workloads that cannot be forked once they are built: their probes start Python anew."""

from __future__ import annotations

import pytest
from projects import MIB, StartRunner, workload


@pytest.mark.usefixtures("new_zygotes")
def test_workload_that_starts_a_thread_trains_in_a_new_python(start_zygote: StartRunner) -> None:
    """Such a probe builds the module, and its thread, itself; the runner gives the reason."""
    runner = start_zygote(workload("zoo.StartsThread"), timeout=60.0)
    probe = runner.train(4, steps=2)
    assert ("fits", None, "starts 1 thread (feeder)") == (
        probe.outcome,
        probe.detail,
        runner.afresh,
    )


def test_limit_holds_in_a_new_python(start_zygote: StartRunner) -> None:
    """The budget also bounds a probe in a new Python."""
    probe = start_zygote(
        workload("zoo.StartsThread", data_args={"num_samples": 200_000}), 4 * MIB
    ).train(100_000, steps=1)
    assert "oom" == probe.outcome


def test_forked_workloads_have_no_reason_to_start_anew(start_zygote: StartRunner) -> None:
    """A workload without threads is forked."""
    runner = start_zygote(workload("zoo.Net", module_args={"width": 64}))
    assert ("fits", None) == (runner.train(4, steps=2).outcome, runner.afresh)


@pytest.mark.gpu
def test_workload_that_starts_cuda_trains_in_a_new_python(start_zygote: StartRunner) -> None:
    """A workload that starts CUDA trains in a process that starts CUDA itself."""
    runner = start_zygote(workload("zoo.StartsCuda"))
    assert ("fits", "starts CUDA") == (runner.train(4, steps=2).outcome, runner.afresh)
