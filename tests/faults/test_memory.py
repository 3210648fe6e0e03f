"""Memory that runs out late, outside of tensors, or in only one kind of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from faulty_runs import FaultyRun, of, run_once

if TYPE_CHECKING:
    from warm_zygotes import WarmZygotes

MIB = 1 << 20


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, warm_zygotes: WarmZygotes) -> FaultyRun:
    """Run one case per way to run out of memory."""
    models = {
        "outside": of(
            "bad_zoo.OutsideTorch",
            search={"max_batch_size": 64, "mode": "binsearch", "init_val": 5},
        ),
        "validation": of("zoo.GreedyEvaluation", search={"max_batch_size": 256}),
        "second-step": of("zoo.GreedySecondStep", search={"max_batch_size": 256}),
        "accumulated": of(
            "bad_zoo.HoardsUntilStep",
            search={"max_batch_size": 64},
            trainer={"accumulate_grad_batches": 4},
        ),
    }
    return run_once(tmp_path_factory, "memory", models, zygotes=warm_zygotes)


@pytest.mark.parametrize(
    ("model", "phase"),
    [("validation", "validation"), ("second-step", "forward"), ("accumulated", "forward")],
)
def test_boundary_is_where_memory_runs_out_late(ran: FaultyRun, model: str, phase: str) -> None:
    """The largest batch survives validation, a second step or accumulation; the next does not."""
    case = ran.case(model)
    outcomes = {probe["batch_size"]: (probe["outcome"], probe["phase"]) for probe in case["probes"]}
    largest = case["max_batch_size"]
    assert ("passed", "memory") == (case["status"], case["bounded_by"])
    assert [("fits", None), ("oom", phase)] == [outcomes[largest], outcomes[largest + 1]]
    assert case["peak_memory_bytes"] <= case["memory_limit_bytes"]


def test_accumulated_micro_batches_count_together(ran: FaultyRun) -> None:
    """Memory that four micro-batches hold until the optimizer steps counts four times.

    At 1 MiB per sample, 48 samples fit in all.
    """
    assert 48 // 5 < ran.case("accumulated")["max_batch_size"] <= 48 // 4


def test_memory_outside_of_torch_is_bounded(ran: FaultyRun) -> None:
    """A failed allocation of numpy, bytearray or mmap is out of memory, as one of torch is."""
    case = ran.case("outside")
    assert ("passed", "memory") == (case["status"], case["bounded_by"])
    assert case["max_batch_size"] * 4 * MIB < case["peak_memory_bytes"] < case["memory_limit_bytes"]
    details = {
        probe["batch_size"]: probe["detail"]
        for probe in case["probes"]
        if probe["outcome"] == "oom"
    }
    assert "Unable to allocate" in details[20]
    assert "MemoryError" == details[12]
    assert "OSError: [Errno 12] Cannot allocate memory" == details[15]


def test_nothing_is_left(ran: FaultyRun) -> None:
    """The run succeeds, and leaves neither processes nor files."""
    assert (0, ()) == (ran.code, ran.leftovers)
