"""Reads off a locked learning rate and its range what a schedule or a study needs.

Refuses profiles that have none, with the reason.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypedDict

from harness.errors import HarnessError
from harness.wording import RELOCK

if TYPE_CHECKING:
    from harness.measurement import Profile


class OneCycle(TypedDict):
    """The arguments of torch's `OneCycleLR` that a profile knows."""

    max_lr: float | list[float]
    """The rate at the peak: one for all groups of the optimizer, or one for each."""
    cycle_momentum: bool
    """False: the rate was measured at the optimizer's own momentum."""


def why_no_rate(profile: Profile) -> str:
    """Return the reason why a profile has no learning rate."""
    if profile.lr_refusal:
        return profile.lr_refusal
    if profile.source == "predicted":
        return "it was predicted, and never trained"
    return "the LR range test was not run"


def locked_rate(profile: Profile, otherwise: str = "") -> float:
    """Return the locked learning rate. Raises HarnessError, with the reason, if there is none.

    otherwise: what can be done without one, in words.
    """
    if profile.learning_rate is None:
        raise HarnessError(
            f"{profile.case_id} is locked without a learning rate: {why_no_rate(profile)}. "
            f"{otherwise or 'See what the range test says, and lock the case anew'}"
        )
    return profile.learning_rate


def locked_range(profile: Profile) -> tuple[float, float]:
    """Return the ends of the locked range. Raises HarnessError, with the reason, without one."""
    rate = locked_rate(profile)
    if not profile.learning_rate_range:
        raise HarnessError(
            f"{profile.case_id} is locked with a learning rate, {rate:.4g}, and without a range: "
            f"{_why_no_range(profile)}. Lock it anew with `{RELOCK}`"
        )
    low, high = profile.learning_rate_range
    return low, high


def _why_no_range(profile: Profile) -> str:
    if profile.lr_without_range:
        return "lr_range.stages is 1, which measures none: set it to 2 or 3"
    return "its lock is from before there were ranges"


def one_cycle(profile: Profile, max_factor: float, optimizer: Any) -> OneCycle:
    """Return the arguments of `OneCycleLR`; see `LockedProfile.one_cycle`."""
    rate = locked_rate(profile)
    is_number = isinstance(max_factor, (int, float)) and not isinstance(max_factor, bool)
    if not is_number or not 1 <= max_factor < math.inf:
        raise HarnessError(
            f"max_factor={max_factor!r}: a number from 1 is needed; 1 makes the locked learning "
            "rate the peak"
        )
    factor = _allowed(profile, rate, max_factor)
    if optimizer is None:
        return {"max_lr": rate * factor, "cycle_momentum": False}
    groups = getattr(optimizer, "param_groups", None)
    if not groups:
        raise HarnessError(
            f"optimizer={type(optimizer).__name__}: an optimizer of torch is needed, whose "
            "param_groups have the measured rates; leave it out if it has one group"
        )
    return {"max_lr": [group["lr"] * factor for group in groups], "cycle_momentum": False}


def _allowed(profile: Profile, rate: float, max_factor: float) -> float:
    """Return the factor of the peak: `max_factor`, or what leads to the end of the range.

    A peak above the range is only returned where no range is locked, with a warning.
    """
    import logging  # noqa: PLC0415 - several ms; only a schedule needs it

    log = logging.getLogger("harness")
    if not profile.learning_rate_range:
        log.warning(
            "%s has no learning_rate_range: nothing measured says that %.4g, %g times the locked "
            "learning rate, still trains; lock it anew with `%s`",
            profile.case_id,
            rate * max_factor,
            max_factor,
            RELOCK,
        )
        return max_factor
    high = profile.learning_rate_range[1]
    if rate * max_factor <= high:
        return max_factor
    log.info(
        "%s: the peak is %.4g, the upper end of learning_rate_range; %g times the locked learning "
        "rate would be %.4g",
        profile.case_id,
        high,
        max_factor,
        rate * max_factor,
    )
    return high / rate
