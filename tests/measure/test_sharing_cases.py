"""Which cases share a GPU, and which are measured again alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from matrix_texts import load
from measurements import locked, measurement

from harness.devices.cuda import CONTEXT_BYTES, CudaDevice
from harness.devices.nvml.gpu import Gpu
from harness.errors import MachineError, WorkloadError
from harness.measure.sharing import alone_if_crowded, claim_of
from harness.measurement import Probe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.matrix.case import Case
    from harness.measurement import Measurement

GIB = 1 << 30
MATRIX = """\
version: 1
matrix: {model: [net], gpu: [h200], resolution: [1]}
models: {net: {module: {class_path: torch.nn.Linear}}}
gpus: {h200: {name: NVIDIA H200BUDGET}}
SETTINGS
"""
CAPPED = locked(bounded_by="cap", peak_memory_bytes=4 * GIB)


def case_of(tmp_path: Path, settings: str = "", budget: str = "") -> Case:
    """Return a case of an H200."""
    text = MATRIX.replace("BUDGET", budget and f", budget: {budget}").replace("SETTINGS", settings)
    return load(tmp_path, text)[0]


def device(claim_bytes: int | None = None) -> CudaDevice:
    """Return an H200 that nobody has held yet."""
    made = CudaDevice([Gpu("NVIDIA H200", 140 * GIB, "GPU-a", "580")], None, 0.9)
    made.claim_bytes = claim_bytes
    return made


def test_case_with_a_budget_claims_it(tmp_path: Path) -> None:
    """The budget bounds what a probe reserves, whatever is locked."""
    assert 24 * GIB == claim_of(case_of(tmp_path, budget="24GiB"), device(), None)


def test_capped_case_claims_its_peak_and_a_quarter(tmp_path: Path) -> None:
    """Where a cap or the data set bounds the batch, the locked peak tells what it takes."""
    assert 5 * GIB == claim_of(case_of(tmp_path), device(), CAPPED)


@pytest.mark.parametrize(
    ("settings", "budget", "profile"),
    [
        ("", "", None),
        ("", "", locked(bounded_by="memory", peak_memory_bytes=4 * GIB)),
        ("", "", locked(bounded_by="cap", peak_memory_bytes=100 * GIB)),
        ("", "100GiB", None),
        ("search: {objective: throughput}", "24GiB", None),
        ("bounds: {throughput: {max_drop: 5%}}", "24GiB", None),
        ("workers: {max: 8}", "24GiB", None),
        ("search: {validation: search}", "", CAPPED),
        ("search: {inference: [predict]}", "", CAPPED),
    ],
)
def test_other_cases_have_a_gpu_of_their_own(
    tmp_path: Path, settings: str, budget: str, profile: Any
) -> None:
    """What memory bounds, what takes more than half, and what is timed does not share."""
    assert None is claim_of(case_of(tmp_path, settings, budget), device(), profile)


def test_bound_and_share_follow_the_claim() -> None:
    """A probe may reserve what was claimed; CUDA's context is claimed beside it."""
    made = device(13 * GIB)
    assert {**device().bound, "claim_bytes": 13 * GIB} == made.bound
    assert (13 * GIB + CONTEXT_BYTES) / (140 * GIB) == made.share


def answers(on: CudaDevice, *found: Measurement | Exception) -> Callable[[], Measurement]:
    """Return a measurement that gives these answers, and holds the GPU as `hold` does."""
    rest = list(found)

    def measure() -> Measurement:
        on.shared = on.claim_bytes is not None
        answer = rest.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return measure


def test_speed_beside_others_is_not_taken(tmp_path: Path) -> None:
    """Others on the GPU slow a case down, so its samples per second are not locked."""
    on = device(4 * GIB)
    found = alone_if_crowded(case_of(tmp_path), on, answers(on, measurement()))
    assert None is found.samples_per_second


def test_capped_case_that_runs_out_is_measured_alone(tmp_path: Path) -> None:
    """An out of memory at the claim says nothing about the case's limit."""
    on = device(4 * GIB)
    crowded = measurement(probes=(Probe(8, "fits"), Probe(16, "oom")))
    found = alone_if_crowded(case_of(tmp_path), on, answers(on, crowded, measurement()))
    assert (None, 10340.0) == (on.claim_bytes, found.samples_per_second)
    assert (
        "it was measured again without sharing its GPU: batch 16 ran out of the memory that it "
        "claimed beside others"
    ) == found.warnings[-1]


def test_out_of_memory_at_the_budget_is_the_answer(tmp_path: Path) -> None:
    """With a budget the search ends in out of memory beside others as it does alone."""
    on = device(24 * GIB)
    crowded = measurement(probes=(Probe(8, "fits"), Probe(9, "oom")))
    found = alone_if_crowded(case_of(tmp_path, budget="24GiB"), on, answers(on, crowded))
    assert crowded.max_batch_size == found.max_batch_size


@pytest.mark.parametrize(
    ("budget", "error", "is_again"),
    [
        ("24GiB", MachineError("others took 3 GiB"), True),
        ("", WorkloadError("the soak ran out of memory"), True),
        ("24GiB", WorkloadError("no loss"), False),
    ],
)
def test_trouble_beside_others_is_tried_alone(
    tmp_path: Path, budget: str, error: Exception, *, is_again: bool
) -> None:
    """Memory that others took is no error yet; a broken workload is one at once."""
    on = device(24 * GIB)
    measure = answers(on, error, measurement())
    if is_again:
        found = alone_if_crowded(case_of(tmp_path, budget=budget), on, measure)
        assert str(error) in found.warnings[-1]
    else:
        with pytest.raises(WorkloadError, match="no loss"):
            alone_if_crowded(case_of(tmp_path, budget=budget), on, measure)
