"""CUDA's libraries that fail at every batch size are no batch of 0."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from fake_runner import Rehearsal, make_case, surroundings

from harness.errors import MachineError, WorkloadError
from harness.measure.case import measure_case
from harness.probes import open_cases

if TYPE_CHECKING:
    from pathlib import Path

    from harness.measurement import Measurement, Probe

CUBLAS = "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
CUDNN = "RuntimeError: GET was unable to find an engine to execute this computation"
TRACEBACK = "Traceback (most recent call last): …"


class FailingFrom(Rehearsal):
    """Fails, for another reason than memory, from one batch size on."""

    def __init__(self, detail: str, smallest: int) -> None:
        super().__init__()
        self.detail, self.smallest = detail, smallest

    def train(self, batch_size: int, **arguments: Any) -> Probe:
        """Return the probe of the rehearsal, or one that failed."""
        probe = super().train(batch_size, **arguments)
        if batch_size < self.smallest:
            return probe
        return replace(
            probe, outcome="error", phase="forward", detail=self.detail, traceback=TRACEBACK
        )


def measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detail: str, smallest: int
) -> Measurement:
    """Measure a case whose probes fail from one batch size on."""
    runner = FailingFrom(detail, smallest)
    monkeypatch.setattr(open_cases, "open_runner", lambda *_: runner)
    case = make_case(tmp_path, lr="when: never")
    return measure_case(case, runner.device, None, surroundings(tmp_path))


@pytest.mark.parametrize(
    "detail",
    [
        CUBLAS,
        "RuntimeError: cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
        "RuntimeError: CUDA error: resource allocation failed when calling `cusparseCreate(h)`",
    ],
)
def test_library_that_never_works_is_trouble_with_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detail: str
) -> None:
    """The error has the batch size, the phase, the library's words and what to look at."""
    with pytest.raises(MachineError) as caught:
        measured(tmp_path, monkeypatch, detail, 1)
    assert str(caught.value).startswith(
        f"net-cpu-1: no batch size trains: batch 1 failed in forward: {detail}. The GPU has memory "
        "to spare, so this is no matter of the batch size: see whether driver, CUDA and torch"
    )


def test_kernel_that_cudnn_never_has_is_the_workloads_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names data types and memory formats, and has the traceback."""
    with pytest.raises(WorkloadError, match="cuDNN has no kernel for an operation") as caught:
        measured(tmp_path, monkeypatch, CUDNN, 1)
    assert TRACEBACK == caught.value.detail


def test_library_that_fails_from_some_batch_on_bounds_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below it the batches are measured."""
    found = measured(tmp_path, monkeypatch, CUBLAS, 20)
    assert (19, "error") == (found.max_batch_size, found.bounded_by)


def test_users_own_error_at_every_batch_is_a_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure of the case shows it, as before."""
    found = measured(tmp_path, monkeypatch, "ValueError: labels must be positive", 1)
    assert (0, "error") == (found.max_batch_size, found.bounded_by)
