"""Answers of probes that time the training loader, without any process."""

from __future__ import annotations

from typing import Any

from harness.probes.answers import Answer
from harness.probes.loader_probe import ROUNDS


def answer(told: tuple[float, float] | str) -> Answer[Any]:
    """Return an answer: the seconds of step and loader, or what has failed."""
    result: dict[str, Any] = {"outcome": "error", "detail": told, "traceback": None}
    if not isinstance(told, str):
        result = {
            "outcome": "fits",
            "refusal": None,
            "step_seconds": [told[0]] * ROUNDS,
            "load_seconds": [told[1]] * ROUNDS,
        }
    return Answer(result, None, "data", "log", 1.0)
