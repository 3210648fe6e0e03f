"""The types of report.json. Its JSON Schema is generated from them (`harness.cli.answers`)."""

from __future__ import annotations

from dataclasses import fields

from typing_extensions import TypedDict

from harness.bounds.verdict import Violation
from harness.case_names import Scalar
from harness.lockfile.precisions import Recommendation
from harness.measurement import Bucket, DeviceIdentity, Measurement, Probe, Profile, Source, Speed
from harness.report.case_result import Status


class Grown(TypedDict):
    """What holds more memory at the peak than when the prediction was locked."""

    holder: str
    """Kind and module: `activation of layers.0`."""
    then_bytes: int
    now_bytes: int
    at_most: bool
    """Whether `then_bytes` is an upper limit, because only larger holders were locked."""
    line: str
    """The line of the user's code, `model.py:33`; empty if none is known."""


class LrSweep(TypedDict):
    """A sweep of an LR range test, thinned: of each stretch the lowest and the highest loss."""

    seed: int
    learning_rates: list[float]
    losses: list[float | None]
    """One that is no finite number is null."""


class LrTrial(TypedDict):
    """A trial of an LR range test at one learning rate."""

    seed: int
    learning_rate: float
    loss: float | None
    """The mean over the second half of its steps; null where it diverged."""


class ReportedCase(TypedDict):
    """A case of report.json, which has the values of `MEASURED` besides."""

    id: str
    model: Scalar | None
    gpu: Scalar | None
    resolution: Scalar | None
    axes: dict[str, Scalar]
    status: Status
    reason: str | None
    """Why the case was skipped, failed or could not be run."""
    headline: str | None
    """Why the case failed or could not be run, in one line; null of a case that did neither."""
    source: Source
    device: DeviceIdentity | None
    buckets: list[Bucket]
    probes: list[Probe]
    speeds: list[Speed]
    speeds_again: list[Speed]
    lr_sweeps: list[LrSweep]
    lr_trials: list[LrTrial]
    grown: list[Grown]
    """The largest growth first."""
    predicted_at_locked: dict[str, int]
    """What holds memory at the peak of the locked predicted batch: the largest holders, and those
    that are locked, in bytes."""
    violations: list[Violation]
    improvements: list[str]
    warnings: list[str]
    locked: Profile | None
    """The committed profile that the case was compared with."""
    accepted: bool
    update_command: str | None
    seconds: float


class Report(TypedDict):
    """The content of report.json."""

    version: int
    preset: str | None
    recommended_precisions: list[Recommendation]
    cases: list[ReportedCase]


# Fields that have a key of their own, that words show better, or that would make the report large.
_APART = {
    "axes",
    "device",
    "workload",
    "settings",
    "predicted_at_locked",
    "predicted_lines",
    "memory_lines",
    "buckets",
    "probes",
    "speeds",
    "speeds_again",
    "lr_curves",
    "warnings",
    "seconds",
}
MEASURED = tuple(one.name for one in fields(Measurement) if one.name not in _APART)
"""The fields of a measurement that a case of report.json has under the same names, or null."""
