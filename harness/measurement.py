"""Holds what a run found for a case: frozen data, free of torch and pytest, ready for JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, Self

from harness.case_names import Scalar, case_id
from harness.device_identity import DeviceIdentity as DeviceIdentity  # noqa: PLC0414 - exported

Outcome = Literal["fits", "oom", "error", "dataset"]
"""How a probe ended. `dataset`: the data held no full batch of that size."""

BoundedBy = Literal["memory", "cap", "dataset", "trials", "error", "nothing fits"]
"""What kept the largest batch from being larger."""

Source = Literal["measured", "predicted"]
"""Whether values come from training on the device, or on a simulated GPU of its kind."""

ProbeKind = Literal["train", "validation", "validate", "test", "predict", "bucket", "joint"]
"""Which batch size a probe varies: `validate` to `predict` are of the Trainer's functions alone.

`bucket`: that of a bucket below the last; `joint`: those of all buckets, in turn.
"""

LOCKED_HOLDERS = 16
"""A lock keeps this many of the largest holders of memory at the peak, because people read it."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Memory of which a training, its validation or an inference holds more after each step."""

    phase: Literal["training", "validation", "test", "predict"]
    """A step is an optimizer step, or a batch of validation."""
    bytes_per_step: int
    steps: int
    """The steps of the first pass over the data that the probe has seen."""
    pass_steps: int | None = None
    """All steps of a pass; None where the probe repeated the data, or they have no length."""
    given_back: bool | None = None
    """Whether the end of the pass has freed the memory; None if the probe did not come so far."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket of lengths: a sampler makes batches of its samples alone."""

    edge: float
    """The longest length of its samples; those of the bucket are longer than the edge before."""
    batch_size: int
    """The size to train with, beside those of the other buckets."""
    max_batch_size: int
    """The largest batch that trained alone, of samples as long as the edge."""
    bounded_by: BoundedBy = "memory"


@dataclass(frozen=True, slots=True)
class Probe:
    """The result of one probe: one batch size, tried in a process of its own."""

    batch_size: int
    outcome: Outcome
    phase: str | None = None
    """Where it ended if it did not fit: setup, data, forward, backward, optimizer, validation."""
    peak_memory_bytes: int | None = None
    seconds: float = 0.0
    kind: ProbeKind = "train"
    peak_allocated_bytes: int | None = None
    """On CUDA: the largest amount that tensors held, a part of `peak_memory_bytes`."""
    non_torch_bytes: int | None = None
    """On CUDA: memory in use at the end outside torch's allocator (context, libraries, others)."""
    alloc_retries: int | None = None
    """How often the allocator emptied its cache after the first step; above 0 it thrashes."""
    finite_loss: bool = True
    """Whether the last training loss was a number."""
    growing: bool = False
    """Whether the peak still grew from step to step when the probe ended."""
    growth: Growth | None = None
    """What it keeps with each step; None where it keeps nothing."""
    samples: int = 0
    """Samples that went through a training step."""
    steps: int = 0
    """Optimizer steps that took effect."""
    samples_per_second: float | None = None
    detail: str | None = None
    """One line: the exception, the signal, the exit code or the time-out."""
    traceback: str | None = None
    log: str | None = None
    """Path of the probe's output, as a string so that it travels as JSON."""
    notes: tuple[str, ...] = ()
    """What thaws later; on a simulated GPU the lines where values decide, zeros there."""
    values_read: str | None = None
    """On a simulated GPU: the line that read a value last. An error may come from that zero."""
    buckets: dict[str, int] = field(default_factory=dict)
    """Of a `bucket` or `joint`: its batch sizes by edge, as texts: JSON has no other keys."""
    rank: int | None = None
    """The rank that did not fit, or whose peak is the largest; None where there is one process."""


@dataclass(frozen=True, slots=True)
class LrCurve:
    """The raw result of a sweep or a trial with one seed."""

    seed: int
    learning_rates: tuple[float, ...]
    """The rate of each step that was taken."""
    losses: tuple[float, ...]
    num_steps: int | None = None
    """The steps that were asked for; a training that diverges takes fewer."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast one batch size trains, from probes that time it in several rounds."""

    batch_size: int
    samples_per_second: float
    """The median of the rounds."""
    samples_per_second_spread: float | None
    """The standard deviation from round to round, estimated robustly; None with one round."""
    num_rounds: int
    peak_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Predicted:
    """The predicted largest batch, and the facts that it rests on."""

    batch_size: int
    made_with: dict[str, str]
    """Versions. Predictions of the same torch and simulation are compared exactly."""
    peak: dict[str, int]
    """The largest holders of memory at the peak, such as `activation of layers.0`, in bytes."""
    at_locked: dict[str, int]
    """All holders of memory at the peak of the locked predicted batch, to see what has grown."""
    lines: dict[str, str] = field(default_factory=dict)
    """The line of the user's code behind each holder of `at_locked`: `model.py:33`."""
    step: tuple[int, ...] = ()
    """The live memory over a training step, in bytes, thinned; it has the step's peak."""
    step_at_locked: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The values of one case on one device: what a measurement finds and a lockfile holds.

    This class is their only list. The lockfile has them in this order, under these names; `axes`,
    `device` and every mapping are tables there. A value that equals its default is left out.
    """

    axes: dict[str, Scalar]
    """Model, GPU, resolution, then further axes in the order of the matrix."""
    emulated: bool = False
    """Whether the device is a CPU or has an artificial budget. Training picks it only by label."""
    source: Source = "measured"
    """`predicted`: nothing trained. `max_batch_size` is a prediction, `batch_size` is 5% less."""
    batch_size: int
    """The tuned batch, the one to train with: `max_batch_size` x safety factor, rounded down."""
    accumulate_grad_batches: int | None = None
    """The micro-batches of `batch_size` that make `global_batch_size`; None where that is None."""
    global_batch_size: int | None = None
    """Samples of an optimizer step on one device, if `search.global_batch_size` asks for them."""
    max_batch_size: int
    """The largest batch that trained; 0 in a measurement where nothing fits."""
    predicted_batch_size: int | None = None
    """The predicted largest batch. A measured profile may have one too."""
    validation_batch_size: int | None = None
    num_workers: int | None = None
    """The workers of the training loader, where `workers.max` asks for them."""
    bounded_by: BoundedBy
    learning_rate: float | None = None
    learning_rates: tuple[float, ...] = ()
    """One suggestion per seed."""
    learning_rate_range: tuple[float, ...] = ()
    """The lowest and the highest rate at which training is as good; empty where there is none."""
    group_learning_rates: tuple[float, ...] = ()
    """The rate of each group of the optimizer, in its order; empty where all have the same."""
    lr_horizon: int | None = None
    """Optimizer steps of a trial: learning rate and range are for so many at a constant rate."""
    lr_refusal: str | None = None
    """Why there is no learning rate."""
    peak_memory_bytes: int | None = None
    """At `max_batch_size`."""
    memory_limit_bytes: int
    samples_per_second: float | None = None
    """At `batch_size` if it was timed, and there is a spread; else of a probe of the largest."""
    samples_per_second_spread: float | None = None
    """The standard deviation of `samples_per_second` from round to round; None: not timed."""
    fingerprint: str
    recipe: str
    device: DeviceIdentity
    workload: dict[str, Scalar] = field(default_factory=dict)
    """The parts of the fingerprint, readable: classes, parameter counts, data, sample shapes."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The recipe's settings that differ from the defaults: dotted names and TOML values."""
    made_with: dict[str, str] = field(default_factory=dict)
    """Versions, for information: a profile is never matched by them."""
    predicted_with: dict[str, str] = field(default_factory=dict)
    """Versions of the prediction; those of the same torch and simulation are compared exactly."""
    predicted_peak: dict[str, int] = field(default_factory=dict)
    """The largest holders at the peak of the predicted batch, beside measured values: bytes."""
    predicted_step: tuple[int, ...] = ()
    """The live memory over a training step of the predicted batch, in bytes, thinned."""
    memory: dict[str, int] = field(default_factory=dict)
    """Bytes at the peak of `max_batch_size` whatever the batch, by holder: `activation of head`."""
    memory_per_sample: dict[str, int] = field(default_factory=dict)
    """Bytes for each of its samples, by holder; where it is empty, `memory` holds all of them."""
    inference_batch_sizes: dict[str, int] = field(default_factory=dict)
    """The largest batch of `validate`, `test` and `predict` alone: those of `search.inference`."""
    buckets: tuple[Bucket, ...] = ()
    """The buckets of lengths, the shortest first; `batch_size` is that of the last."""

    @property
    def case_id(self) -> str:
        """The id of the case: `resnet18-h200-224`."""
        return case_id(self.axes)

    @property
    def bucket_batch_sizes(self) -> dict[float, int]:
        """The batch size of each bucket of lengths, by its edge; empty without buckets.

        It is what `harness.BucketBatchSampler` takes.
        """
        return {bucket.edge: bucket.batch_size for bucket in self.buckets}

    @property
    def lr_answered(self) -> bool:
        """Whether an LR range test has given a learning rate, with its range, or a refusal.

        A rate without a range is of a rule that is gone, unless its recipe asked for no range.
        """
        if self.learning_rate is None:
            return self.lr_refusal is not None
        return bool(self.learning_rate_range) or self.lr_without_range

    @property
    def lr_without_range(self) -> bool:
        """Whether the recipe asks for a sweep alone, which measures no range."""
        return self.settings.get("lr_range.stages") == 1

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Rebuild a profile from `dataclasses.asdict`, also after a round trip through JSON."""
        values = _with_tuples(data) | {
            "device": DeviceIdentity(**data["device"]),
            "buckets": tuple(Bucket(**bucket) for bucket in data["buckets"]),
        }
        return cls(**values)

    def with_learning_rate_of(self, other: Profile) -> Self:
        """Return the profile with the learning rate of another one, its range and its refusal."""
        return replace(
            self,
            learning_rate=other.learning_rate,
            learning_rates=other.learning_rates,
            learning_rate_range=other.learning_rate_range,
            group_learning_rates=other.group_learning_rates,
            lr_horizon=other.lr_horizon,
            lr_refusal=other.lr_refusal,
        )

    def profile_values(self) -> dict[str, Any]:
        """Return the values of the fields that every profile has, by name."""
        return {one.name: getattr(self, one.name) for one in fields(Profile)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement(Profile):
    """Everything that one run found for one case: by training, or by prediction (`source`)."""

    predicted_at_locked: dict[str, int] = field(default_factory=dict)
    """All holders of memory at the peak of the locked predicted batch, in bytes."""
    predicted_step_at_locked: tuple[int, ...] = ()
    """The live memory over a training step of the locked predicted batch, in bytes, thinned."""
    predicted_lines: dict[str, str] = field(default_factory=dict)
    """The line of the user's code behind each of these holders: `model.py:33`."""
    memory_lines: dict[str, str] = field(default_factory=dict)
    """The line of the user's code behind each holder of `memory`: `model.py:33`."""
    lr_kept: bool = False
    """Whether the learning rate is the locked one, without a new LR range test."""
    lr_confirmed: bool = False
    """Whether a new range test has confirmed the locked learning rate, which an update keeps."""
    group_rates_at_locked: tuple[float, ...] = ()
    """The rate of each group at the locked learning rate, where that was confirmed."""
    largest_learning_rate: float | None = None
    """The rate of the largest group that follows `learning_rate`, where that is another number."""
    signal_to_noise: float | None = None
    lr_steps: int = 0
    """Optimizer steps that the LR range test took, over all seeds."""
    loader_samples_per_second: dict[str, float] = field(default_factory=dict)
    """The rate of the training loader alone, by its number of workers."""
    step_samples_per_second: float | None = None
    """The rate of the training step alone, timed beside that loader."""
    non_monotone: int | None = None
    """A batch larger than `max_batch_size` that is known to fit."""
    probes: tuple[Probe, ...] = ()
    speeds: tuple[Speed, ...] = ()
    """The speed of each batch size that was timed, the smallest first."""
    speeds_again: tuple[Speed, ...] = ()
    """Speeds that were timed once more, because the first would have failed."""
    lr_curves: tuple[LrCurve, ...] = ()
    warnings: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    """Paths of the files that the run left for this case."""
    seconds: float = 0.0

    def with_prediction(self, predicted: Predicted | None) -> Measurement:
        """Return the measurement with a prediction beside it, if there is one."""
        if predicted is None:
            return self
        return replace(
            self,
            predicted_batch_size=predicted.batch_size,
            predicted_with=predicted.made_with,
            predicted_peak=predicted.peak,
            predicted_step=predicted.step,
            predicted_step_at_locked=predicted.step_at_locked,
            predicted_at_locked=predicted.at_locked,
            predicted_lines=predicted.lines,
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data for JSON (tuples become lists there)."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Rebuild a measurement from `to_json`, also after a round trip through JSON."""
        curves = tuple(LrCurve(**_with_tuples(curve)) for curve in data["lr_curves"])
        own = {
            "probes": tuple(_probe_from_json(probe) for probe in data["probes"]),
            "speeds": tuple(Speed(**speed) for speed in data["speeds"]),
            "speeds_again": tuple(Speed(**speed) for speed in data["speeds_again"]),
            "lr_curves": curves,
        }
        # `slots=True` makes a second class; a bare super() would refer to the first.
        return super(Measurement, cls).from_json(data | own)


def _probe_from_json(data: dict[str, Any]) -> Probe:
    growth = data.get("growth")
    growing = None if growth is None else Growth(**growth)
    return Probe(**data | {"notes": tuple(data["notes"]), "growth": growing})


def _with_tuples(data: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(one) if isinstance(one, list) else one for key, one in data.items()}
