"""Types what the page shows of a `report.json`, and refuses a report that has other types.

Keys that a report of an earlier version lacks have defaults; keys of later versions are ignored.
Every text is made visible here: a report may come from a stranger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.errors import HarnessError
from harness.lockfile.report_file import UnreadableReportError, read_report, shown
from harness.visible import cut, one_line, visible
from harness.wording import shown_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_MAX_TEXT = 8000


def _bounded(text: str) -> str:
    return visible(text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…")


Line = Annotated[str, Field(strict=True), AfterValidator(cut)]
Text = Annotated[str, Field(strict=True), AfterValidator(_bounded)]
Count = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1e300, le=1e300)]
Label = Annotated[str | int | float | bool, AfterValidator(lambda value: cut(str(value)))]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        """Leave out what is null: an unknown value has its default."""
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None}


class Device(_Part):
    """Where a case was measured or is locked."""

    name: Line
    memory_bytes: Count


class Probe(_Part):
    """One probe, in the order in which they ran."""

    batch_size: Count
    outcome: Literal["fits", "oom", "error"]
    phase: Line | None = None
    peak_memory_bytes: Count | None = None
    seconds: Number = 0.0
    kind: Line = "train"
    samples_per_second: Number | None = None
    detail: Line | None = None
    traceback: Text | None = None


class Speed(_Part):
    """The timed speed of one batch size."""

    batch_size: Count
    samples_per_second: Number
    samples_per_second_spread: Number | None = None


class Sweep(_Part):
    """A sweep of the learning rate with one seed."""

    seed: int
    learning_rates: tuple[Number, ...] = ()
    losses: tuple[Number | None, ...] = ()


class Trial(_Part):
    """A trial of one learning rate with one seed; its loss is None where it diverged."""

    seed: int
    learning_rate: Number
    loss: Number | None = None


class Bucket(_Part):
    """The batch of one bucket of lengths."""

    edge: Number
    batch_size: Count
    max_batch_size: Count
    bounded_by: Line = "memory"


class Values(_Part):
    """What a measurement and a locked profile both have."""

    source: Literal["measured", "predicted"] = "measured"
    emulated: bool = False
    batch_size: Count | None = None
    max_batch_size: Count | None = None
    predicted_batch_size: Count | None = None
    validation_batch_size: Count | None = None
    accumulate_grad_batches: Count | None = None
    global_batch_size: Count | None = None
    num_workers: Count | None = None
    bounded_by: Line | None = None
    learning_rate: Number | None = None
    learning_rate_range: tuple[Number, ...] = ()
    lr_horizon: Count | None = None
    lr_refusal: Text | None = None
    peak_memory_bytes: Count | None = None
    memory_limit_bytes: Count | None = None
    samples_per_second: Number | None = None
    samples_per_second_spread: Number | None = None
    device: Device | None = None
    made_with: dict[Line, Line] = Field(default_factory=dict)
    predicted_with: dict[Line, Line] = Field(default_factory=dict)
    predicted_peak: dict[Line, Count] = Field(default_factory=dict)
    predicted_step: tuple[Count, ...] = ()
    memory: dict[Line, Count] = Field(default_factory=dict)
    memory_per_sample: dict[Line, Count] = Field(default_factory=dict)
    inference_batch_sizes: dict[Line, Count] = Field(default_factory=dict)
    buckets: tuple[Bucket, ...] = ()


class Violation(_Part):
    """One bound that is broken."""

    bound: Line
    locked: Label | None = None
    measured: Label | None = None
    allowed: Label | None = None
    message: Text = ""


class Grown(_Part):
    """What holds more memory than when it was locked, at the locked batch."""

    holder: Line
    then_bytes: Count
    now_bytes: Count
    at_most: bool = False
    line: Line = ""


class Case(Values):
    """One case of a run."""

    id: Line
    model: Label | None = None
    gpu: Label | None = None
    resolution: Label | None = None
    status: Literal["passed", "failed", "skipped", "error"]
    reason: Text | None = None
    headline: Text | None = None
    lr_kept: bool = False
    lr_confirmed: bool = False
    lr_steps: Count = 0
    largest_learning_rate: Number | None = None
    signal_to_noise: Number | None = None
    probes: tuple[Probe, ...] = ()
    speeds: tuple[Speed, ...] = ()
    lr_sweeps: tuple[Sweep, ...] = ()
    lr_trials: tuple[Trial, ...] = ()
    predicted_at_locked: dict[Line, Count] = Field(default_factory=dict)
    predicted_step_at_locked: tuple[Count, ...] = ()
    grown: tuple[Grown, ...] = ()
    violations: tuple[Violation, ...] = ()
    improvements: tuple[Text, ...] = ()
    warnings: tuple[Text, ...] = ()
    locked: Values | None = None
    update_command: Line | None = None
    seconds: Number = 0.0


class Report(_Part):
    """What a run has found."""

    preset: Line | None = None
    cases: tuple[Case, ...]
    left_out: dict[str, int] = Field(default_factory=dict)
    """The number of cases that are not among them, by status; a file has no such key."""


def report_of(
    data: dict[str, Any], path: Path | None = None, left_out: Mapping[str, int] | None = None
) -> Report:
    """Return a report's typed content. Raises HarnessError, which names the place in it.

    path: the file that the data were read from, for the error.
    left_out: the number of cases that the data lack, by status.
    """
    try:
        return Report.model_validate({**data, "left_out": dict(left_out or {})})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = _place(first["loc"])
        message = one_line(first["msg"][:1].lower() + first["msg"][1:])[:200]
        raise _refused(path, f"{place} is {shown(first['input'])}: {message}") from error


def read_reports(paths: Sequence[Path]) -> Report:
    """Read the reports of one or more runs as one, as those of several machines.

    A case that one run has skipped, because the GPU was not there, is as another has found it; of
    several that have found it, the first counts. Raises HarnessError for a file that is missing, or
    no report.
    """
    cases: dict[str, Case] = {}
    presets: dict[str, None] = {}
    for report in map(_read, paths):
        presets |= dict.fromkeys([report.preset] if report.preset else [])
        for case in report.cases:
            known = cases.get(case.id)
            if known is None or (known.device is None and case.device is not None):
                cases[case.id] = case
    return Report(preset=", ".join(presets) or None, cases=tuple(cases.values()))


def _read(path: Path) -> Report:
    try:
        data = read_report(path)
    except UnreadableReportError as error:
        raise _refused(path, str(error)) from error
    if data is None:
        raise HarnessError(
            f"{shown_path(path)} does not exist; each run of `pytest --gpu-profile` leaves a "
            "report.json, in the folder of its results"
        )
    return report_of(data, path)


def _place(parts: tuple[int | str, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return cut(text.removeprefix("."))


def _refused(path: Path | None, reason: str) -> HarnessError:
    where = "report.json" if path is None else shown_path(path)
    return HarnessError(
        f"{where}: cannot be read as the report of a run: {reason}. Copy it anew from the run that "
        "wrote it"
    )
