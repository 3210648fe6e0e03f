"""What one run found for one case: plain frozen data, free of torch and pytest, ready for JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Outcome = Literal["fits", "oom", "error", "dataset"]
"""How a probe ended; `dataset` means that the data held no full batch of that size."""

BoundedBy = Literal["memory", "cap", "dataset", "trials", "error", "nothing fits"]
"""What kept the largest batch from being larger."""

Source = Literal["measured", "predicted"]
"""Whether values come from training on the device, or from a trace and a simulation."""

Scalar = str | int | float | bool
"""A value on an axis of the matrix."""


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """The part of a device that a locked profile is matched on."""

    name: str
    """NVML's product name, or `cpu`."""
    memory_bytes: int
    """NVML's total, the budget of an emulated device, or the budget on the CPU."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One attempt at one batch size, in a process of its own."""

    batch_size: int
    outcome: Outcome
    phase: str | None = None
    """Where it ended when it did not fit: setup, data, forward, backward, optimizer, validation."""
    peak_memory_bytes: int | None = None
    seconds: float = 0.0
    kind: Literal["train", "validation"] = "train"
    """Which batch size was varied."""
    peak_allocated_bytes: int | None = None
    """Of `peak_memory_bytes`, what tensors held at most; on CUDA."""
    non_torch_bytes: int | None = None
    """On the GPU beyond torch's allocator at the end: context, libraries, other processes; outside of the limit."""
    alloc_retries: int | None = None
    """How often the allocator had to empty its cache after the first step: not zero means that it thrashes."""
    finite_loss: bool = True
    """Whether the last training loss was a number."""
    growing: bool = False
    """Whether the peak still grew from step to step when the probe ended."""
    samples: int = 0
    """Samples that went through a training step."""
    samples_per_second: float | None = None
    detail: str | None = None
    """One line: the exception, the signal, the exit code or the time-out."""
    traceback: str | None = None
    log: str | None = None
    """Path of the probe's output, as a string so that it travels as JSON."""


@dataclass(frozen=True, slots=True)
class LrCurve:
    """The raw result of the sweep with one seed."""

    seed: int
    learning_rates: tuple[float, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Measurement:
    """Everything that one run found for one case: by training, or, where `source` says so, by prediction alone."""

    case_id: str
    axes: dict[str, Scalar]
    device: DeviceIdentity
    emulated: bool
    """A CPU or a GPU with an artificial budget: never picked automatically at train time."""
    max_batch_size: int
    """The largest batch that trained; 0 when nothing fits."""
    bounded_by: BoundedBy
    batch_size: int
    """The tuned batch: `max_batch_size` times the safety factor, rounded down."""
    fingerprint: str
    recipe: str
    memory_limit_bytes: int
    source: Source = "measured"
    """`predicted`: nothing was trained, `max_batch_size` is a prediction, and `batch_size` keeps 5% away from it."""
    peak_memory_bytes: int | None = None
    """At `max_batch_size`."""
    predicted_batch_size: int | None = None
    """The largest batch by prediction, also beside a measured one; None where none was made."""
    predicted_with: dict[str, str] = field(default_factory=dict)
    """Versions of the prediction: one is compared exactly with another of the same torch."""
    predicted_peak: dict[str, int] = field(default_factory=dict)
    """What holds most at the predicted batch's peak, in bytes: `activation of layers.0` and the like."""
    predicted_at_locked: dict[str, int] = field(default_factory=dict)
    """The same of the batch that the lock predicts, whole: what has grown since."""
    validation_batch_size: int | None = None
    learning_rate: float | None = None
    learning_rates: tuple[float, ...] = ()
    """One suggestion per seed."""
    lr_refusal: str | None = None
    """Why there is no learning rate."""
    lr_kept: bool = False
    """The learning rate is the locked one: the range test was not run again."""
    signal_to_noise: float | None = None
    samples_per_second: float | None = None
    non_monotone: int | None = None
    """A batch larger than `max_batch_size` that is known to fit."""
    workload: dict[str, Scalar] = field(default_factory=dict)
    """What the fingerprint is made of, readable: classes, number of parameters, data length, sample shapes."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Dotted names and values of the recipe's settings that are not the defaults."""
    made_with: dict[str, str] = field(default_factory=dict)
    """Versions: provenance, never matched on."""
    probes: tuple[Probe, ...] = ()
    lr_curves: tuple[LrCurve, ...] = ()
    warnings: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    """Paths of the files that the run left for this case."""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain data for JSON (tuples become lists there)."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Measurement:
        """Rebuild what `to_json` gave, also after it went through JSON."""
        fields = dict(data)
        fields["device"] = DeviceIdentity(**fields["device"])
        fields["probes"] = tuple(Probe(**probe) for probe in fields["probes"])
        fields["lr_curves"] = tuple(
            LrCurve(curve["seed"], tuple(curve["learning_rates"]), tuple(curve["losses"]))
            for curve in fields["lr_curves"]
        )
        for name in ("learning_rates", "warnings", "artifacts"):
            fields[name] = tuple(fields[name])
        return cls(**fields)
