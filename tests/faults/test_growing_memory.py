"""Memory that grows from step to step, and batches that must be a multiple, in whole runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from faulty_runs import FaultyRun, of, run_once

if TYPE_CHECKING:
    from warm_zygotes import WarmZygotes

pytestmark = pytest.mark.slow  # tests/simulated/test_growth_on_gpu.py has whole runs as well

# One pass keeps 32 KiB of each of 400 samples: 12.5 MiB of the budget of 48 MiB.
DATA: dict[str, Any] = {"data": "zoo.Numbers", "data_args": {"num_samples": 400}}
FEW = {"max_batch_size": 40, "init_val": 40}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, warm_zygotes: WarmZygotes) -> FaultyRun:
    """Run one case per kind of growth."""
    models = {
        "epoch": of("growing_zoo.Keeps", search={"max_batch_size": 256, "init_val": 64}, **DATA),
        "too-much": of("growing_zoo.Keeps", module_args={"kib": 256}, search=FEW, **DATA),
        "validation": of(
            "growing_zoo.KeepsInValidation", module_args={"kib": 256}, search=FEW, **DATA
        ),
        "leak": of("growing_zoo.Leaks", search=FEW, **DATA),
        "queue": of("growing_zoo.FillsQueue", search=FEW, **DATA),
        "multiple": of("zoo.Net", data="growing_zoo.Sixths", search={"max_batch_size": 90}),
        "on-grid": of(
            "zoo.Net", data="growing_zoo.Sixths", search={"max_batch_size": 90, "round_to": 6}
        ),
    }
    return run_once(tmp_path_factory, "growing", models, zygotes=warm_zygotes)


def last_growth(case: dict[str, Any]) -> dict[str, Any]:
    """Return the growth that the last probe of the largest batch has found."""
    probes = [one for one in case["probes"] if one["batch_size"] == case["max_batch_size"]]
    growth: dict[str, Any] = probes[-1]["growth"]
    return growth


def test_epoch_that_gives_back_is_trained_whole(ran: FaultyRun) -> None:
    """The largest batch leaves room for what its epoch keeps: less than 192, more than 100."""
    case = ran.case("epoch")
    outcomes = {probe["batch_size"]: probe["outcome"] for probe in case["probes"]}
    largest = case["max_batch_size"]
    assert ("passed", "memory", "oom") == (
        case["status"],
        case["bounded_by"],
        outcomes[largest + 1],
    )
    assert 100 < largest < 192
    assert last_growth(case)["given_back"]


@pytest.mark.parametrize(
    ("model", "what"), [("too-much", "its epoch"), ("validation", "validation")]
)
def test_what_no_batch_has_room_for_is_told_with_its_numbers(
    ran: FaultyRun, model: str, what: str
) -> None:
    """256 KiB of each of 400 samples are 100 MiB: nothing fits, and the reason is told."""
    case = ran.case(model)
    assert ("failed", 0, "nothing fits") == (
        case["status"],
        case["max_batch_size"],
        case["bounded_by"],
    )
    text = " ".join(ran.output.split())
    assert f"{model}-cpu-48MiB-1: no batch size trains: batch 1 out of memory" in text
    assert f"{what} would need 10" in text or f"by the end of the {what}'s 400" in text
    assert "what is kept until the end is too much at any batch size" in text


def test_leak_is_told_from_what_an_epoch_keeps(ran: FaultyRun) -> None:
    """What no epoch's end frees is a warning: one epoch trains, but not any number of them."""
    case = ran.case("leak")
    assert ("passed", 40) == (case["status"], case["max_batch_size"])
    assert "nothing is given back when it ends" in " ".join(case["warnings"])


def test_queue_that_is_full_is_no_leak(ran: FaultyRun) -> None:
    """A queue stops growing once it is full, and nothing is said of a leak."""
    case = ran.case("queue")
    assert ("passed", 40) == (case["status"], case["max_batch_size"])
    assert "nothing is given back" not in " ".join(case["warnings"])


def test_multiple_is_named_where_small_batches_raise(ran: FaultyRun) -> None:
    """The failure names the number that trains, for `search.round_to`."""
    assert ("failed", "error") == (
        ran.case("multiple")["status"],
        ran.case("multiple")["bounded_by"],
    )
    assert "set search.round_to: 6" in " ".join(ran.output.split())


def test_multiples_are_searched_with_round_to(ran: FaultyRun) -> None:
    """With `round_to` only multiples are tried, up to the largest within the cap."""
    case = ran.case("on-grid")
    assert ("passed", 90, "cap") == (case["status"], case["max_batch_size"], case["bounded_by"])
    assert [] == [probe for probe in case["probes"] if probe["batch_size"] % 6]
