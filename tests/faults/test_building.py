"""Workloads that fail before they train a step: while they are built or set up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from faulty_runs import LOCK, FaultyRun, of, run_once

if TYPE_CHECKING:
    from warm_zygotes import WarmZygotes


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, warm_zygotes: WarmZygotes) -> FaultyRun:
    """Run one case per fault."""
    models = {
        "raises": of("bad_zoo.RaisesInInit"),
        "crashes": of("bad_zoo.CrashesInInit"),
        "raises-setup": of("bad_zoo.RaisesInSetup"),
        "exits-setup": of("bad_zoo.ExitsInSetup"),
        "raises-configure": of("bad_zoo.RaisesInConfigure"),
        "hangs": of("zoo.Net", "bad_zoo.HungLoader", search={"probe_timeout": 2}),
    }
    return run_once(tmp_path_factory, "building", models, zygotes=warm_zygotes)


def test_constructor_that_raises(ran: FaultyRun) -> None:
    """The first line has the exception, and the traceback begins with the user's code."""
    expected = """\
test_gpu_profile[raises-cpu-48MiB-1]: the workload cannot be built: ValueError: no backbone is \
called resnet999

Traceback (most recent call last):
  (4 frames of gpu-profile, Lightning and torch left out)
  File "PROJECT/profiles/bad_zoo.py", line NUMBER, in __init__
    raise ValueError("no backbone is called resnet999")
ValueError: no backbone is called resnet999

log: PROJECT/.gpu-profile/raises-cpu-48MiB-1/zygote.log

try it alone with:
  gpu-profile probe raises-cpu-48MiB-1 --batch-size 1"""
    assert expected == ran.shown("raises")


def test_constructor_that_crashes(ran: FaultyRun) -> None:
    """The message of a crash in native code has the signal, the log of the process and its end."""
    expected = """\
test_gpu_profile[crashes-cpu-48MiB-1]: the process that builds the workload was killed by SIGSEGV; \
its output is in PROJECT/.gpu-profile/crashes-cpu-48MiB-1/zygote.log"""
    shown = ran.shown("crashes").splitlines()
    assert expected == shown[0]
    assert any(line.startswith("Fatal Python error: Segmentation fault") for line in shown)
    assert "  gpu-profile probe crashes-cpu-48MiB-1 --batch-size 1" == shown[-1]


@pytest.mark.parametrize(
    ("model", "error", "last_frame"),
    [
        ("raises-setup", "FileNotFoundError: no checkpoint to start from", "in setup"),
        ("raises-configure", "KeyError: 'adamw'", "in configure_optimizers"),
    ],
)
def test_set_up_that_raises(ran: FaultyRun, model: str, error: str, last_frame: str) -> None:
    """An exception of a hook is shown with its traceback, its log and the next command."""
    first, *_, last = (shown := ran.shown(model)).splitlines()
    assert f"test_gpu_profile[{model}-cpu-48MiB-1]: the workload cannot be set up: {error}" == first
    assert f"  gpu-profile probe {model}-cpu-48MiB-1 --batch-size 1" == last
    assert last_frame in shown
    assert f"log: PROJECT/.gpu-profile/{model}-cpu-48MiB-1/001-describe.log" in shown.splitlines()
    assert error in ran.log(model, "001-describe.log").read_text(encoding="utf-8")


def test_set_up_that_ends_the_process(ran: FaultyRun) -> None:
    """The message of a sudden exit names the exit code and the log."""
    first = ran.shown("exits-setup").splitlines()[0]
    assert first == (
        "test_gpu_profile[exits-setup-cpu-48MiB-1]: setting up the workload exited with code 4; "
        "its output is in PROJECT/.gpu-profile/exits-setup-cpu-48MiB-1/001-describe.log"
    )


def test_set_up_that_hangs(ran: FaultyRun) -> None:
    """A loader that never gives a batch is ended after `probe_timeout`; the message says so."""
    first = ran.shown("hangs").splitlines()[0]
    assert first == (
        "test_gpu_profile[hangs-cpu-48MiB-1]: setting up the workload timed out after 2 s; "
        "its output is in PROJECT/.gpu-profile/hangs-cpu-48MiB-1/001-describe.log"
    )


@pytest.mark.parametrize(
    "model", ["raises", "crashes", "raises-setup", "exits-setup", "raises-configure", "hangs"]
)
def test_each_is_a_failure_in_the_call(ran: FaultyRun, model: str) -> None:
    """A workload that cannot be built or set up is a failure of its test, not an error."""
    assert ("failure", "failed", None) == (
        ran.verdict(model),
        ran.case(model)["status"],
        ran.case(model)["max_batch_size"],
    )


def test_nothing_is_left_or_locked(ran: FaultyRun) -> None:
    """The run exits with 1, leaves no process and no temporary file, and changes no lockfile."""
    assert (1, (), LOCK) == (ran.code, ran.leftovers, ran.lock)
