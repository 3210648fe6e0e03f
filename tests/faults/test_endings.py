"""Workloads that raise, exit, crash or hang in training."""

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
        "raises": of("bad_zoo.RaisesInStep"),
        "raises-worker": of("zoo.Net", "bad_zoo.BrokenRecords"),
        "exits": of("zoo.Exits"),
        "sys-exits": of("bad_zoo.SysExits"),
        "killed": of("zoo.Killed"),
        "crashes": of("bad_zoo.CrashesInStep"),
        "hangs": of("bad_zoo.HangsDeaf", search={"probe_timeout": 2}),
    }
    return run_once(tmp_path_factory, "endings", models, zygotes=warm_zygotes)


@pytest.mark.parametrize(
    ("model", "how"),
    [
        ("exits", "exited\n  with code 3"),
        ("killed", "was\n  killed by SIGKILL"),
        ("crashes", "was\n  killed by SIGSEGV"),
        ("hangs", "timed\n  out after 2 s"),
    ],
)
def test_sudden_end(ran: FaultyRun, model: str, how: str) -> None:
    """The message of a sudden end names exit code, signal or time-out, batch, phase and log."""
    expected = f"""\
{model}-cpu-48MiB-1: no batch size trains: batch 1 failed in forward: {how}

  on            cpu, 48.0 MiB, torch VERSION
  memory limit  48.0 MiB
  log           PROJECT/.gpu-profile/{model}-cpu-48MiB-1/003-train-b1.log

try it alone with:
  gpu-profile probe {model}-cpu-48MiB-1 --batch-size 1"""
    assert " ".join(expected.split()) == " ".join(ran.shown(model).split())


def test_exception_in_a_step(ran: FaultyRun) -> None:
    """The traceback begins with the user's frames; the log has all frames."""
    shown = ran.shown("raises")
    error = "RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x8 and 16x4096)"
    assert shown.startswith(
        f"raises-cpu-48MiB-1: no batch size trains: batch 1 failed in forward:\n  {error}\n"
    )
    _, _, traceback = shown.partition("Traceback (most recent call last):\n")
    assert "frames of gpu-profile, Lightning and torch left out)" in traceback.splitlines()[0]
    assert "in training_step" in traceback.splitlines()[1]
    assert f"\n{error}\n" in traceback
    assert "in _call_and_handle_interrupt" not in shown
    log = ran.log("raises", "003-train-b1.log").read_text(encoding="utf-8")
    assert "in _call_and_handle_interrupt" in log
    assert error in log


def test_exception_in_a_worker_of_the_loader(ran: FaultyRun) -> None:
    """The headline is the exception that a worker raised."""
    assert ran.shown("raises-worker").startswith(
        "raises-worker-cpu-48MiB-1: no batch size trains: batch 1 failed in data:\n"
        "  ValueError: record 7 is no JPEG (in DataLoader worker process 0)\n"
    )


def test_sys_exit_in_a_step(ran: FaultyRun) -> None:
    """SystemExit fails the case like any other exception."""
    assert ran.shown("sys-exits").startswith(
        "sys-exits-cpu-48MiB-1: no batch size trains: batch 1 failed in forward:\n"
        "  SystemExit: no licence for this data set\n"
    )


def test_crash_leaves_its_stack_in_the_log(ran: FaultyRun) -> None:
    """A crash in native code leaves its Python stack in the probe's log."""
    log = ran.log("crashes", "003-train-b1.log").read_text(encoding="utf-8")
    assert "Segmentation fault" in log
    assert "in training_step" in log


@pytest.mark.parametrize(
    ("model", "sizes"),
    [
        *((name, [2, 1, 4]) for name in ("raises", "raises-worker", "sys-exits")),
        *((name, [2, 1]) for name in ("exits", "killed", "crashes", "hangs")),
    ],
)
def test_each_is_a_failure_after_few_probes(ran: FaultyRun, model: str, sizes: list[int]) -> None:
    """The second probe tries the smallest batch; after an exception the third tries a multiple."""
    case = ran.case(model)
    assert ("failure", "failed", "error", 0) == (
        ran.verdict(model),
        case["status"],
        case["bounded_by"],
        case["max_batch_size"],
    )
    assert sizes == [probe["batch_size"] for probe in case["probes"]]


def test_nothing_is_left_or_locked(ran: FaultyRun) -> None:
    """The run exits with 1, leaves no process and no temporary file, and changes no lockfile."""
    assert (1, (), LOCK) == (ran.code, ran.leftovers, ran.lock)
