"""How the benchmark of the gate counts, and what it plants."""

from __future__ import annotations

from typing import Any

import lr_gate
import pytest
import torch
from learning_rates.moved import moved_by
from learning_rates.planted import CHANGES, Planted

from harness.matrix.cases import load_matrix


def planted(moved: float, *, failed: bool) -> dict[str, Any]:
    """Return the least of a planted change that is counted."""
    return {"moved_by": moved, "failed": failed}


def counted(changes: list[dict[str, Any]], runs: list[bool]) -> dict[str, Any]:
    """Return the numbers over planted changes, and over unchanged runs that fail or not."""
    return lr_gate.summarise(
        {
            "planted": dict(enumerate(changes)),
            "unchanged": {number: {"failed": run, "seeds": 1} for number, run in enumerate(runs)},
        }
    )


def test_moves_in_both_directions_count() -> None:
    """A third is as far as three times; what moved by less need not be caught."""
    figures = counted(
        [
            planted(1 / 3, failed=True),
            planted(3.0, failed=False),
            planted(2.9, failed=False),
            planted(1.1, failed=True),
        ],
        [False, True],
    )
    assert (2, 1, 0.5, 1, 1) == tuple(
        figures[name]
        for name in (
            "moved by x3",
            "caught of those",
            "share caught of those moved by x3",
            "failed of the others",
            "unchanged runs that fail",
        )
    )
    assert list(lr_gate.BARS) == lr_gate.missed(figures)


def test_all_bars_are_met() -> None:
    """Nothing is missed where each change is caught and no unchanged run fails."""
    assert [] == lr_gate.missed(counted([planted(10.0, failed=True)], [False]))


def test_a_change_moves_the_middle() -> None:
    """The middle of the rates that lose a tenth at most moves with them, by whole grids here."""
    (case,) = [
        case
        for case in load_matrix(lr_gate.PROFILES / "matrix.yaml", lr_gate.SYS_PATH)
        if case.id == "resnet-cpu-32MiB-16"
    ]
    oracles = {
        f"{case.id} {{}}": {"0.001": 1.0, "0.01": 0.0, "0.1": 1.0},
        f'{case.id} {{"summed": true}}': {"0.0001": 1.0, "0.001": 0.0, "0.01": 1.0},
    }
    assert pytest.approx(0.1) == moved_by(oracles, case, {}, {"summed": True}, 32)


@pytest.mark.parametrize("change", CHANGES)
def test_planted_modules_train(change: str) -> None:
    """Each change builds a module whose loss has a gradient, and differs from what is locked."""
    before, after = CHANGES[change]
    torch.manual_seed(0)
    module = Planted("resnet", 16, **after)
    batch = torch.rand(4, 1, 16, 16), torch.arange(4)
    loss = module.training_step(batch, 0)
    loss.backward()  # type: ignore[no-untyped-call] # torch's own signature
    trained = [one.grad is not None for one in module.parameters()]
    assert (True, True) == (before != after, all(trained))
