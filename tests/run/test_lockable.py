"""The profiles that an update or a candidate lockfile holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from measurements import measurement

from harness.lockfile.profiles import LockedProfile
from harness.report.case_result import CaseResult
from harness.run.results import lockable

NOW = measurement(
    learning_rate=0.004,
    learning_rates=(0.004,),
    learning_rate_range=(0.002, 0.008),
    lr_horizon=60,
    max_batch_size=500,
)
THEN = replace(
    LockedProfile.from_measurement(NOW),
    learning_rate=0.003,
    learning_rates=(0.003, 0.0031),
    learning_rate_range=(0.0015, 0.006),
    lr_horizon=30,
    max_batch_size=400,
)


def result(*, confirmed: bool, locked: LockedProfile | None = THEN) -> CaseResult:
    """Return the result of a case with another learning rate and another batch than locked."""
    return CaseResult(
        case_id="net-cpu-1",
        axes=NOW.axes,
        status="passed",
        measurement=replace(NOW, lr_confirmed=confirmed),
        locked=locked,
    )


def test_a_confirmed_learning_rate_stays_as_it_is_locked() -> None:
    """With its range, seeds and horizon; else each update would move it by chance."""
    (profile,) = lockable([result(confirmed=True)])
    assert profile == replace(THEN, max_batch_size=500)


@pytest.mark.parametrize("locked", [THEN, None], ids=["another", "none"])
def test_a_learning_rate_that_was_not_confirmed_is_locked_anew(
    locked: LockedProfile | None,
) -> None:
    """As measured, range and all."""
    (profile,) = lockable([result(confirmed=False, locked=locked)])
    assert profile == LockedProfile.from_measurement(NOW)
