"""Memory that runs out late, elsewhere than in a tensor, or only in one kind of training."""

from __future__ import annotations

import pytest
from faults import FaultyRun, of, run_once

MIB = 1 << 20


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> FaultyRun:
    """Run one case per way to run out."""
    models = {
        "outside": of(
            "bad_zoo.OutsideTorch", search={"max_batch_size": 64, "mode": "binsearch", "init_val": 5}
        ),
        "validation": of("zoo.GreedyEvaluation", search={"max_batch_size": 256}),
        "second-step": of("zoo.GreedySecondStep", search={"max_batch_size": 256}),
        "accumulated": of(
            "bad_zoo.HoardsUntilStep", search={"max_batch_size": 64}, trainer={"accumulate_grad_batches": 4}
        ),
    }
    return run_once(tmp_path_factory, "memory", models)


@pytest.mark.parametrize(
    ("model", "phase"), [("validation", "validation"), ("second-step", "forward"), ("accumulated", "forward")]
)
def test_boundary_is_where_memory_runs_out_late(ran: FaultyRun, model: str, phase: str) -> None:
    """The largest batch survives validation, a second step and accumulation; the next runs out there."""
    case = ran.case(model)
    outcomes = {probe["batch_size"]: (probe["outcome"], probe["phase"]) for probe in case["probes"]}
    largest = case["max_batch_size"]
    assert ("passed", "memory") == (case["status"], case["bounded_by"])
    assert [("fits", None), ("oom", phase)] == [outcomes[largest], outcomes[largest + 1]]
    assert case["peak_memory_bytes"] <= case["memory_limit_bytes"]


def test_accumulated_micro_batches_count_together(ran: FaultyRun) -> None:
    """What is held until the optimizer steps is held four times: 1 MiB per sample fits 48 samples in all."""
    assert 48 // 5 < ran.case("accumulated")["max_batch_size"] <= 48 // 4


def test_memory_outside_of_torch_is_bounded(ran: FaultyRun) -> None:
    """What numpy, bytearray and mmap cannot get is out of memory, like what torch cannot."""
    case = ran.case("outside")
    assert ("passed", "memory") == (case["status"], case["bounded_by"])
    assert case["max_batch_size"] * 4 * MIB < case["peak_memory_bytes"] < case["memory_limit_bytes"]
    details = {probe["batch_size"]: probe["detail"] for probe in case["probes"] if probe["outcome"] == "oom"}
    assert "Unable to allocate" in details[20]
    assert "MemoryError" == details[12]
    assert "OSError: [Errno 12] Cannot allocate memory" == details[15]


def test_nothing_is_left(ran: FaultyRun) -> None:
    """All cases train at some batch: the run succeeds, and leaves neither processes nor files."""
    assert (0, ()) == (ran.code, ran.leftovers)
