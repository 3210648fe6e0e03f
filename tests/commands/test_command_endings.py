"""How a program has ended is judged by what was seen of it."""

from __future__ import annotations

from typing import Any

import pytest

from harness.commands.endings import Seen, tell
from harness.commands.inside.reports import Report
from harness.commands.program import Ended

OOM = {"outcome": "oom", "detail": "no memory", "traceback": "...", "phase": "forward"}
TRAINED: dict[str, Any] = {"steps": 4, "is_set": True}


def told(
    code: int = 0, output: str = "", *reports: dict[str, Any], accelerator: str = "cpu"
) -> Any:
    """Return how a program with these reports of its processes has ended, at batch 8."""
    seen = Seen(Ended(code, output), [Report(one) for one in reports], python=True)
    return tell(seen, 8, 3, accelerator)


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (told(0, "", TRAINED), "fits"),
        (told(0, "", TRAINED | {"oom": OOM}), "oom"),
        (told(0, "", TRAINED, {"oom": OOM}), "oom"),
        (told(-6, "terminate called ... 'std::bad_alloc'", TRAINED), "oom"),
        (told(1, "torch.OutOfMemoryError: CUDA out of memory. Tried", TRAINED), "oom"),
        (told(0, "CUDA out of memory. Tried", TRAINED | {"steps": 1}), "oom"),
        (told(0, "CUDA out of memory. is what I never say", TRAINED), "fits"),
        (told(0, "", TRAINED | {"excess": "took more"}), "oom"),
        (told(0, "", TRAINED | {"samples": 7}), "dataset"),
        (told(0, "", TRAINED | {"samples": 8}), "fits"),
        (told(0, "", TRAINED | {"trouble": "the GPU is busy"}), "machine"),
        (told(0, "", TRAINED | {"failure": OOM | {"outcome": "error"}}), "error"),
        (told(0, "", TRAINED | {"is_set": False}, accelerator="cuda"), "error"),
        (told(2, "", TRAINED), "error"),
    ],
)
def test_outcomes(found: Any, outcome: str) -> None:
    """Memory comes first, then the program's own end, its data, and its steps."""
    assert outcome == found.outcome


@pytest.mark.parametrize(
    "forged",
    [
        {"steps": "many"},
        {"steps": -1},
        {"oom": "yes"},
        {"oom": {"outcome": "fits", "detail": 3}},
        {"failure": [1]},
        {"steps": 1 << 80},
    ],
)
def test_forged_reports_are_no_success(forged: dict[str, Any]) -> None:
    """The program's code may write anything where its reports are."""
    assert "error" == told(0, "", forged).outcome
