"""Probes: real training in forked processes, and the ways in which it can end."""

from __future__ import annotations

import os
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from projects import MIB, WORKLOADS, workload

from harness.devices.cpu import CpuDevice
from harness.errors import WorkloadError
from harness.probes.runner import ProbeRunner
from harness.probes.zygote_client import ZygoteClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from projects import StartRunner


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProbeRunner]:
    """Start one runner of the ordinary network for all tests that need no other."""
    logs = tmp_path_factory.mktemp("logs")
    with ProbeRunner(
        workload("zoo.Net"), CpuDevice(64 * MIB), {}, logs, sys_path=[str(WORKLOADS), *sys.path]
    ) as runner:
        yield runner


def descendants() -> set[int]:
    """Return the process ids of everything this process has started, directly or not.

    Processes of earlier tests may end at any time.
    """
    return {child.pid for child in psutil.Process().children(recursive=True)}


def test_fits_and_reports_peak_and_throughput(net: ProbeRunner) -> None:
    """A batch within the budget fits, with a peak above the module's size and a sample count."""
    probe = net.train(8, steps=3, validation_steps=1)
    assert ("fits", None, 8, "train") == (probe.outcome, probe.phase, probe.batch_size, probe.kind)
    assert probe.peak_memory_bytes is not None
    # Parameters, gradients and two moments of 4096 x 19 float32, at least.
    assert 4 * 4096 * 19 * 4 < probe.peak_memory_bytes < 64 * MIB
    assert probe.samples == 3 * 8
    assert probe.samples_per_second is not None
    assert probe.samples_per_second > 0


def test_boundary_is_the_same_in_fresh_processes(start: StartRunner) -> None:
    """The largest batch fits each time, and the next one is out of memory each time."""
    runner = start(workload("zoo.Net", module_args={"width": 16384}), 48 * MIB)
    low, high = 1, 2048
    while high - low > 1:
        middle = (low + high) // 2
        fits = runner.train(middle, steps=3).outcome == "fits"
        low, high = (middle, high) if fits else (low, middle)
    assert ["fits", "oom"] * 3 == [runner.train(size, steps=3).outcome for size in (low, high) * 3]


def test_running_out_in_training_names_its_phase(net: ProbeRunner) -> None:
    """A batch beyond the budget is out of memory, with its phase and the message of the failure."""
    probe = net.train(4096, steps=3)
    assert ("oom", "forward") == (probe.outcome, probe.phase)
    assert probe.detail is not None
    assert "memory" in probe.detail.lower()


def test_users_exception_keeps_its_traceback(start: StartRunner) -> None:
    """A user's exception is an error with phase, one line and traceback, not out of memory."""
    probe = start(workload("zoo.Raises")).train(4, steps=3)
    assert ("error", "backward", "ValueError: labels must be sorted") == (
        probe.outcome,
        probe.phase,
        probe.detail,
    )
    assert probe.traceback is not None
    assert "in explode" in probe.traceback


def test_hanging_probe_is_killed_and_the_zygote_goes_on(start: StartRunner) -> None:
    """A probe that exceeds its time is killed and reported as such; the next one runs."""
    runner = start(workload("zoo.Hangs"), timeout=3.0)
    details = [runner.train(4, steps=1).detail for _ in range(2)]
    assert ["timed out after 3 s"] * 2 == details


def test_nothing_survives_a_probe(start: StartRunner) -> None:
    """A probe's threads and its children in other sessions are gone before the next probe."""
    runner = start(workload("zoo.LeavesThings"))
    before = descendants()
    assert "fits" == runner.train(4, steps=2).outcome
    assert set() == descendants() - before


def test_loader_workers_live_below_long_temporary_folders(
    start_zygote: StartRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A temporary folder whose path is too long for a worker's socket is replaced by a shorter."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    runner = start_zygote(workload("zoo.Net", data_args={"num_workers": 1}))
    assert ("fits", []) == (runner.train(4, steps=1).outcome, list(long.iterdir()))


@pytest.mark.usefixtures("new_zygotes")
def test_nothing_survives_the_runner(start_zygote: StartRunner) -> None:
    """Probes end their loader workers; closing the runner leaves no process and no file."""
    before = descendants()
    runner = start_zygote(workload("zoo.Net", data_args={"num_workers": 2}))
    with_zygote = descendants()
    assert isinstance(runner._zygote, ZygoteClient)
    scratch = runner._zygote.scratch
    assert scratch is not None
    assert Path(scratch).is_dir()
    assert "fits" == runner.train(4, steps=2).outcome
    assert set() == descendants() - with_zygote
    runner.close()
    assert set() == descendants() - before
    assert not Path(scratch).exists()


def test_worst_case_batch_is_what_is_probed(start: StartRunner) -> None:
    """A data module's `worst_case_batch` replaces its training batches."""
    probe = start(workload("zoo.RefusesOrdinaryBatches", "zoo.WorstCase")).train(4, steps=2)
    assert ("fits", None) == (probe.outcome, probe.detail)


def test_accumulated_steps_are_counted_once(start: StartRunner) -> None:
    """With accumulation a step is an optimizer step, and all its micro-batches count as samples."""
    probe = start(workload("zoo.Net"), trainer={"accumulate_grad_batches": 4}).train(8, steps=3)
    assert ("fits", 3, 3 * 4 * 8) == (probe.outcome, probe.steps, probe.samples)


def test_whole_numbers_stay_keys_on_their_way_to_a_probe(start: StartRunner) -> None:
    """A callback of the matrix that accumulates by epoch has its epochs as numbers."""
    scheduler = {
        "class_path": "lightning.pytorch.callbacks.GradientAccumulationScheduler",
        "init_args": {"scheduling": {0: 4, 2: 8}},
    }
    probe = start(workload("zoo.Net"), trainer={"callbacks": [scheduler]}).train(8, steps=3)
    assert ("fits", 3, 3 * 4 * 8) == (probe.outcome, probe.steps, probe.samples)


def test_schedulers_run_in_a_probe(start: StartRunner) -> None:
    """A training with learning rate schedulers can be probed."""
    probe = start(workload("zoo.Scheduled")).train(4, steps=3, validation_steps=1)
    assert ("fits", None) == (probe.outcome, probe.detail)


def test_other_lightning_package_is_trained_with_its_own_trainer(start: StartRunner) -> None:
    """A module of `pytorch_lightning` is probed by that package's Trainer."""
    runner = start(workload("zoo.OlderPackageNet", "zoo.OlderPackageNumbers"))
    assert ("fits", None) == (runner.train(4, steps=2).outcome, runner.train(4, steps=2).detail)


def test_description_says_what_the_workload_is(net: ProbeRunner) -> None:
    """A description has the numbers of parameters and samples, and whether there is validation."""
    description = net.describe()
    assert 16 * 4096 + 4096 + 4096 * 2 + 2 == description.workload["num_parameters"]
    assert (4096, 4096, True, False) == (
        description.num_samples,
        description.num_validation_samples,
        description.validation,
        description.synthetic,
    )


@pytest.mark.usefixtures("new_zygotes")
def test_unbuildable_workload_raises_with_the_users_traceback(start_zygote: StartRunner) -> None:
    """A constructor's exception reaches the caller with its traceback, and no process is left."""
    before = descendants()
    with pytest.raises(WorkloadError, match=r"cannot be built: TypeError: .*'depth'") as raised:
        start_zygote(workload("zoo.Net", module_args={"depth": 3}))
    assert "Traceback" in raised.value.detail
    assert set() == descendants() - before


def test_nothing_is_changed_in_the_parent(net: ProbeRunner) -> None:
    """A probe changes neither environment nor working directory nor random state of pytest."""
    before = (dict(os.environ), Path.cwd(), random.getstate())
    net.train(4, steps=1)
    assert before == (dict(os.environ), Path.cwd(), random.getstate())
