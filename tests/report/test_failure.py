"""The texts of failures and errors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from case_results import CPU, ERROR, FITS, OOM, command, locked, measurement, result

from harness import report
from harness.errors import MachineError, WorkloadError
from harness.measurement import DeviceIdentity

if TYPE_CHECKING:
    from harness.lockfile.profiles import LockedProfile
    from harness.measurement import Measurement

CASE = "resnet18-cpu-256MiB-32"
ACCEPT = f"\n\naccept what was measured with:\n  {command(CASE)}"


def failure(measured: Measurement, lock: LockedProfile | None) -> str:
    """Return the text of a failure."""
    return report.failure_text(result(measured, lock), command(CASE))


def dropped(**changes: Any) -> Measurement:
    """Return a measurement whose batch is out of bounds."""
    probes = (FITS, replace(OOM, batch_size=413))
    return measurement(max_batch_size=412, batch_size=412, probes=probes, **changes)


def test_never_locked() -> None:
    """A case that was never locked shows what was found and how to lock it."""
    expected = f"""\
resnet18-cpu-256MiB-32: never locked on cpu, 256.0 MiB

  max batch      471, bounded by memory
  batch          471
  learning rate  0.00316 (0.00211 to 0.00474, over 40 steps)
  peak memory    250.1 MiB of 256.0 MiB
  ended by       batch 472 out of memory in backward

lock these values with:
  {command(CASE)}"""
    assert expected == failure(measurement(), None)


def test_largest_rate_stands_beside_the_learning_rate() -> None:
    """Where the optimizer makes another rate of the attribute's value, both are shown."""
    text = failure(measurement(largest_learning_rate=0.0316), None)
    assert (
        "  learning rate  0.00316 (0.00211 to 0.00474, over 40 steps; the optimizer's\n"
        "                 largest group: 0.0316)\n"
    ) in text


def test_learning_rate_without_a_range_stands_alone() -> None:
    """Where there is no range, none is spoken of."""
    text = failure(measurement(learning_rate_range=(), lr_horizon=None), None)
    assert "  learning rate  0.00316\n" in text


def test_never_locked_and_refused() -> None:
    """A case that was never locked shows why it has no learning rate."""
    text = failure(measurement(learning_rate=None, lr_refusal="the data are synthetic"), None)
    assert "  learning rate  refused\n" in text
    assert "  LR refused     the data are synthetic\n" in text


def test_batch_size_fell() -> None:
    """A smaller batch shows the locked, measured and allowed values, both places, and the cause."""
    expected = f"""\
resnet18-cpu-256MiB-32: max batch 412 (-12.5%) where at least 462 is allowed

                 locked   measured  allowed
  max batch      471      412       at least 462
  learning rate  0.00316  0.00316

  locked on     cpu, 256.0 MiB, torch 2.13.0
  measured on   cpu, 256.0 MiB, torch 2.14.0
  peak memory   250.1 MiB of 256.0 MiB at batch 412
  ended by      batch 413 out of memory in backward
  likely cause  made with other versions: torch 2.13.0 -> 2.14.0{ACCEPT}"""
    changed = dropped(made_with={"torch": "2.14.0", "lightning": "2.6.6"})
    assert expected == failure(changed, locked())


def test_learning_rate_moved() -> None:
    """A learning rate out of bounds shows both ranges, their horizon and the file of the curve."""
    expected = f"""\
resnet18-cpu-256MiB-32: learning rate 0.0081 where 0.00211 to 0.00474 is allowed

                 locked   measured  allowed
  max batch      471      471
  learning rate  0.00316  0.0081    0.00211 to 0.00474

  on           cpu, 256.0 MiB, torch 2.13.0
  peak memory  250.1 MiB of 256.0 MiB at batch 471
  ended by     batch 472 out of memory in backward
  LR range     0.00211 to 0.00474, over 40 steps, locked
               0.0054 to 0.0121, over 40 steps, measured
  LR curve     lr_range.png{ACCEPT}"""
    assert expected == failure(measurement(learning_rate=0.0081), locked())


def test_learning_rate_refused() -> None:
    """A refused learning rate where the lock holds a number shows the reason."""
    expected = f"""\
resnet18-cpu-256MiB-32: no learning rate where 0.00316 is locked

                 locked   measured  allowed
  max batch      471      471
  learning rate  0.00316  refused   0.00211 to 0.00474

  on           cpu, 256.0 MiB, torch 2.13.0
  peak memory  250.1 MiB of 256.0 MiB at batch 471
  ended by     batch 472 out of memory in backward
  LR refused   signal-to-noise ratio 2.1 is under 4
  LR range     0.00211 to 0.00474, over 40 steps, locked{ACCEPT}"""
    refused = measurement(
        learning_rate=None, lr_refusal="signal-to-noise ratio 2.1 is under 4", artifacts=()
    )
    assert expected == failure(refused, locked())


def test_stale_workload() -> None:
    """A stale lock shows the changes of the workload, and no bound that was kept."""
    expected = f"""\
resnet18-cpu-256MiB-32: the lock is stale: the workload changed

                 locked   measured
  max batch      471      471
  learning rate  0.00316  0.00316

  on            cpu, 256.0 MiB, torch 2.13.0
  peak memory   250.1 MiB of 256.0 MiB at batch 471
  ended by      batch 472 out of memory in backward
  likely cause  the workload changed: num_parameters 11173962 -> 11181642{ACCEPT}"""
    changed = measurement(
        fingerprint="sha256:cc",
        workload={"module": "models.ResNet18", "num_parameters": 11_181_642},
    )
    assert expected == failure(changed, locked())


def test_several_bounds_and_causes() -> None:
    """The headline has all broken bounds, and each likely cause has a line of its own."""
    text = failure(
        dropped(
            recipe="sha256:dd",
            settings={"trainer.precision": "16-mixed"},
            made_with={"torch": "2.14.0"},
        ),
        locked(made_with={"torch": "2.13.0"}),
    )
    assert text.startswith(
        "resnet18-cpu-256MiB-32: the lock is stale: the recipe changed; max batch 412\n"
        "  (-12.5%) where at least 462 is allowed\n\n"
    )
    assert (
        "  likely cause  the recipe changed: trainer.precision the default -> 16-mixed\n"
        "                made with other versions: torch 2.13.0 -> 2.14.0\n"
    ) in text


def test_other_bound_is_a_cause() -> None:
    """If another limit ended the search, this is one of the likely causes."""
    capped = measurement(max_batch_size=256, batch_size=256, bounded_by="cap", probes=(FITS,))
    text = failure(capped, locked())
    assert "  likely cause  bounded by cap, no longer by memory\n" in text
    assert "ended by" not in text


def test_nothing_fits() -> None:
    """If not even the smallest batch fits, the text offers no command to lock it."""
    expected = """\
resnet18-cpu-256MiB-32: no batch size trains: batch 1 out of memory in backward

  on            cpu, 256.0 MiB, torch 2.13.0
  memory limit  256.0 MiB
  locked        max batch 471 on cpu, 256.0 MiB, torch 2.13.0

there is nothing to lock: raise the budget,
or make the workload smaller"""
    nothing = measurement(
        max_batch_size=0,
        batch_size=0,
        bounded_by="nothing fits",
        learning_rate=None,
        peak_memory_bytes=None,
        probes=(replace(OOM, batch_size=8), replace(OOM, batch_size=1)),
    )
    assert expected == failure(nothing, locked())


def test_nothing_fits_from_the_smallest_batch_that_is_allowed_on() -> None:
    """If a minimum is set and nothing fits, the remedy is to lower the minimum."""
    nothing = measurement(
        max_batch_size=0,
        batch_size=0,
        bounded_by="nothing fits",
        learning_rate=None,
        settings={"search.min_batch_size": 5000},
        probes=(replace(OOM, batch_size=5000),),
    )
    text = failure(nothing, None)
    assert text.endswith(
        "raise the budget,\nlower search.min_batch_size, or make the workload smaller"
    )


def test_nothing_fits_on_a_gpu() -> None:
    """Only on a GPU is there a fraction of the memory that can be raised."""
    nothing = measurement(
        max_batch_size=0,
        batch_size=0,
        bounded_by="nothing fits",
        learning_rate=None,
        device=DeviceIdentity("NVIDIA H200", 2**37),
        probes=(replace(OOM, batch_size=1),),
    )
    assert (
        "raise the GPU's budget or target_memory_fraction,\nor make the workload smaller"
        in failure(nothing, None)
    )


def test_the_users_exception() -> None:
    """A training that raises shows phase, log, traceback and the command to try it alone."""
    expected = """\
resnet18-cpu-256MiB-32: no batch size trains: batch 1 failed in forward:
  RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x64 and 128x10)

  on            cpu, 256.0 MiB, torch 2.13.0
  memory limit  256.0 MiB
  log           .gpu-profile/resnet18-cpu-256MiB-32/probe-1.log

Traceback (most recent call last):
  File "models.py", line 12, in forward
    return self.head(x)
RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x64 and 128x10)

try it alone with:
  gpu-profile probe resnet18-cpu-256MiB-32 --batch-size 1"""
    broken = measurement(
        max_batch_size=0, batch_size=0, bounded_by="error", peak_memory_bytes=None, probes=(ERROR,)
    )
    assert expected == failure(broken, None)


def test_exception_at_a_larger_batch() -> None:
    """The exception that ended the search is shown with log and traceback before the command."""
    ended = measurement(
        max_batch_size=8,
        batch_size=8,
        bounded_by="error",
        probes=(FITS, replace(ERROR, batch_size=9)),
    )
    text = failure(ended, locked())
    assert text.count("mat1 and mat2 shapes") == 2
    assert "likely cause" not in text
    assert (
        "  ended by     batch 9 failed in forward: RuntimeError: mat1 and mat2 shapes\n"
        "               cannot be multiplied (1x64 and 128x10)\n"
        "  log          .gpu-profile/resnet18-cpu-256MiB-32/probe-1.log\n\n"
        "Traceback (most recent call last):\n"
    ) in text
    assert text.endswith(ACCEPT)


def test_no_probe_at_all() -> None:
    """A measurement without any probe has a text as well."""
    none = measurement(max_batch_size=0, batch_size=0, bounded_by="trials", probes=())
    assert failure(none, None).startswith("resnet18-cpu-256MiB-32: no batch size trains\n\n")


@pytest.mark.parametrize(
    "measured",
    [
        dropped(lr_refusal="x " * 80, learning_rate=None),
        dropped(device=replace(CPU, name="NVIDIA RTX 6000 Ada Generation " * 3)),
        dropped(
            fingerprint="sha256:ee", workload={f"key_{number}": number for number in range(30)}
        ),
    ],
)
def test_width(measured: Measurement) -> None:
    """No line except the command is wider than 80 columns, for any measurement."""
    lines = failure(measured, locked()).splitlines()
    assert [line for line in lines[:-1] if len(line) > 80] == []


def test_machine_error() -> None:
    """The text of a machine error is the case and the error's own message."""
    error = MachineError("GPU 0 was lost (Xid 79); reset it")
    assert (
        report.error_text("resnet18-h200-224", error)
        == "resnet18-h200-224: GPU 0 was lost (Xid 79); reset it"
    )


def test_workload_error() -> None:
    """A workload that cannot be built shows the user's traceback and the log's path."""
    error = WorkloadError(
        "it cannot be set up: ValueError: no data", "Traceback\nValueError: no data\n", "a.log"
    )
    expected = (
        "case: it cannot be set up: ValueError: no data\n\n"
        "Traceback\nValueError: no data\n\nlog: a.log"
    )
    assert expected == report.error_text("case", error)


def test_workload_error_that_names_its_log() -> None:
    """The text does not name a log that the message names already."""
    error = WorkloadError("it crashed; its output is in a.log", log="a.log")
    assert report.error_text("case", error) == "case: it crashed; its output is in a.log"


def test_headline_of_a_failed_assertion_of_the_users() -> None:
    """The headline of a case that failed for another reason is the first line of that reason."""
    failed = result(lock=locked(), status="failed", reason="assert 471 > 500\n  more")
    assert report.headline(failed) == "assert 471 > 500"
