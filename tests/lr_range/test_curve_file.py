"""The JSON of an LR range test."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from lr_results import FOUND, HORIZON, POINTS, RATES, REFUSED, trials

from harness.lr_range.plot import save_curve
from harness.lr_range.trials import rate_at

if TYPE_CHECKING:
    from pathlib import Path


def test_curve_is_json_with_all_numbers(tmp_path: Path) -> None:
    """It holds the result, each trial, and the sweep, with null for what is not finite."""
    path = tmp_path / "case" / "lr_range.json"
    seed = trials(points=POINTS[:-1])
    seed.losses[-4] = (2.0, math.inf)
    losses = (*FOUND.losses[:-1], math.nan)
    save_curve(path, title="case", result=replace(FOUND, trials={5: seed}, losses=losses))
    curve, found = json.loads(path.read_text()), FOUND.found
    assert found is not None
    assert {
        "version": 2,
        "title": "case",
        "learning_rate": found.learning_rate,
        "learning_rate_range": [found.lowest, found.highest],
        "learning_rate_per_seed": list(found.per_seed),
        "refusal": None,
        "horizon": HORIZON,
        "steps": 357,
        "signal_to_noise": seed.signal_to_noise,
        "sweep": {"learning_rates": list(RATES), "losses": [*FOUND.losses[:-1], None]},
        "group_learning_rates": [],
        "further_sweeps": [],
        "suggestions": {},
    } == {key: value for key, value in curve.items() if key != "trials"}
    assert [(5, rate_at(point)) for point in POINTS] == [
        (trial["seed"], trial["learning_rate"]) for trial in curve["trials"]
    ]
    first, *_, last = curve["trials"]
    assert (seed.loss(-12), seed.lost(-12), list(seed.losses[-12])) == (
        first["loss"],
        first["lost"],
        first["losses"],
    )
    assert (None, 1.0, [2.0, None]) == (last["loss"], last["lost"], last["losses"])


def test_curve_of_a_refusal_has_no_rate(tmp_path: Path) -> None:
    """Rate and range are null, and no seed has one."""
    path = tmp_path / "lr_range.json"
    save_curve(path, title="case", result=REFUSED)
    curve = json.loads(path.read_text())
    assert (None, None, [], REFUSED.refusal) == (
        curve["learning_rate"],
        curve["learning_rate_range"],
        curve["learning_rate_per_seed"],
        curve["refusal"],
    )


def test_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    """When a curve cannot be written, the old file stays and nothing is left beside it."""
    path = tmp_path / "lr_range.json"
    path.write_text("old")
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_curve(
            path,
            title=object(),  # type: ignore[arg-type] # the write has to fail
            result=FOUND,
        )
    assert path.read_text() == "old"
    assert [path] == list(tmp_path.iterdir())
