"""The Trainer's section of a configuration: what a probe takes of it, and what it names."""

from __future__ import annotations

from typing import Any

import lightning.pytorch
import pytest

from harness.configurations.trainer_section import NEUTRAL, take
from harness.matrix.trainer_settings import REFUSED

SECTION = "`trainer` of a.yaml"
OF_THE_MATRIX = (
    "and a case has the devices of the matrix: set trainer.devices and trainer.strategy there"
)
WITHOUT = "probes train without"


def test_replaced_keywords_are_those_that_a_matrix_refuses() -> None:
    """A configuration replaces what a matrix refuses."""
    assert {*REFUSED, "devices", "strategy", "logger"} == set(NEUTRAL)


@pytest.mark.parametrize(
    ("given", "taken", "changing"),
    [
        ({"precision": "bf16-mixed"}, {"precision": "bf16-mixed"}, {"precision": "bf16-mixed"}),
        ({"max_epochs": 3}, {"max_epochs": 3}, {}),
        ({"gradient_clip_val": None, "accumulate_grad_batches": 1}, {}, {}),
        ({"strategy": "single_device", "devices": 1, "accelerator": "gpu"}, {}, {}),
        ({"logger": False}, {"logger": False}, {}),
    ],
)
def test_settings_are_taken(
    given: dict[str, Any], taken: dict[str, Any], changing: dict[str, Any]
) -> None:
    """Not what is Lightning's default, nor what is the case's."""
    assert (taken, changing, []) == take(lightning.pytorch, given, SECTION)


@pytest.mark.parametrize(
    ("given", "note"),
    [
        (
            {"strategy": "ddp", "devices": 4},
            f"{SECTION} has strategy: ddp, devices: 4, {OF_THE_MATRIX}",
        ),
        (
            {"strategy": {"class_path": "x.DDPStrategy"}, "num_nodes": 2},
            f"{SECTION} has strategy: x.DDPStrategy, num_nodes: 2, {OF_THE_MATRIX}",
        ),
        (
            {"overfit_batches": 3},
            f"{SECTION} has overfit_batches: 3, and probes train on all of the data",
        ),
        (
            {"epochs": 3},
            f"{SECTION} has epochs, which Lightning's Trainer does not take: {WITHOUT}",
        ),
    ],
)
def test_what_a_probe_does_not_do_is_named(given: dict[str, Any], note: str) -> None:
    """Nothing is left out in silence that changes memory or data."""
    assert ({}, {}, [note]) == take(lightning.pytorch, given, SECTION)
