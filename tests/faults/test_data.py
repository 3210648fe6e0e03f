"""Data in which no batch size can be found, and unusual training."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest
from faulty_runs import FaultyRun, of, run_once

if TYPE_CHECKING:
    from warm_zygotes import WarmZygotes


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, warm_zygotes: WarmZygotes) -> FaultyRun:
    """Run one case per peculiarity, with the LR range test."""
    models = {
        "ignores": of("zoo.Net", "zoo.IgnoresBatchSize"),
        "small": of(
            "zoo.Net",
            data_args={"num_samples": 10},
            search={"max_batch_size": 64},
            lr_range={"when": "never"},
        ),
        "too-small": of(
            "zoo.Net",
            data_args={"num_samples": 10},
            search={"min_batch_size": 16, "max_batch_size": 64},
        ),
        "empty": of("zoo.Net", data_args={"num_samples": 0}),
        "nan": of("bad_zoo.NotANumber"),
        "two": of("bad_zoo.TwoOptimizersWithoutValidation"),
    }
    settings = {"lr_range": {"num_training": 70, "seeds": [0], "when": "always"}}
    return run_once(tmp_path_factory, "data", models, zygotes=warm_zygotes, settings=settings)


def test_loader_of_another_size(ran: FaultyRun) -> None:
    """A batch of the wrong size fails the case; the message names both sizes and the attribute."""
    assert " ".join(ran.shown("ignores").split()).startswith(
        "ignores-cpu-48MiB-1: no batch size trains: batch 1 failed in data: WrongBatchSizeError: "
        "the training loader gave a batch of 7 samples when the batch size was set to 1: its batch "
        "size must come from the attribute that is set (`batch_size` on the module, its hparams, "
        "the data module or its hparams; another one can be named with `batch_size_attr`) "
        "on cpu, 48.0 MiB, torch VERSION memory limit 48.0 MiB "
        "log PROJECT/.gpu-profile/ignores-cpu-48MiB-1/003-train-b1.log"
    )
    assert ("failure", 0, "error") == outcome(ran, "ignores")


def test_data_set_smaller_than_the_largest_batch(ran: FaultyRun) -> None:
    """If the whole data set fits, it is the largest batch, and the case passes."""
    assert ("passed", 10, "dataset") == outcome(ran, "small")


def test_data_set_smaller_than_the_smallest_batch(ran: FaultyRun) -> None:
    """Without one full batch nothing trains; the message gives a remedy for the data."""
    expected = """\
too-small-cpu-48MiB-1: no batch size trains: batch 16 is more than the data
  holds

  on            cpu, 48.0 MiB, torch VERSION
  memory limit  48.0 MiB
  log           PROJECT/.gpu-profile/too-small-cpu-48MiB-1/002-train-b16.log

there is nothing to lock: one pass over the training data holds no full batch of 16;
give the model more data, or lower search.min_batch_size"""
    assert expected == ran.shown("too-small")
    assert ("failure", 0, "dataset") == outcome(ran, "too-small")


def test_empty_data_set(ran: FaultyRun) -> None:
    """The message says that the data set is empty, whatever its sampler raises."""
    shown = ran.shown("empty")
    assert shown.startswith(
        "empty-cpu-48MiB-1: no batch size trains: batch 1 is more than the data holds\n"
    )
    assert "one pass over the training data holds no full batch of 1;\n" in shown
    assert ("failure", 0, "dataset") == outcome(ran, "empty")


@pytest.mark.parametrize(
    ("model", "refusal"),
    [
        ("nan", "the loss is not finite at a learning rate of"),
        (
            "two",
            "the workload uses manual optimization: a sweep cannot control its optimizer steps",
        ),
    ],
)
def test_refusal_of_the_range_test(ran: FaultyRun, model: str, refusal: str) -> None:
    """A case with NaN losses or manual optimization has a batch size, and a refusal."""
    assert ("passed", 4, "cap") == outcome(ran, model)
    assert f"{model}-cpu-48MiB-1: no learning rate: {refusal}" in " ".join(ran.output.split())
    assert ran.case(model)["learning_rate"] is None


def test_no_validation_has_no_validation_batch(ran: FaultyRun) -> None:
    """The validation batch is the training batch, or none without a validation step."""
    assert (None, 4) == (
        ran.case("two")["validation_batch_size"],
        ran.case("nan")["validation_batch_size"],
    )


def test_only_what_trains_is_locked(ran: FaultyRun) -> None:
    """An update locks the cases that train beside the former ones; the run exits with 1."""
    models = [profile["model"] for profile in tomllib.loads(ran.lock)["profile"]]
    assert ["elsewhere", "nan", "small", "two"] == models
    assert (1, ()) == (ran.code, ran.leftovers)


def outcome(ran: FaultyRun, model: str) -> tuple[str, int, str]:
    """Return JUnit's verdict, the largest batch, and what bounds it."""
    case = ran.case(model)
    return ran.verdict(model), case["max_batch_size"], case["bounded_by"]
