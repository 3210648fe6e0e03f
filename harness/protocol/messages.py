"""The requests to probes, and what comes back: results, failures and events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field

# pydantic cannot read the one of `typing` before Python 3.12.
from typing_extensions import TypedDict

from harness.lightning_names import Hook
from harness.protocol import lr
from harness.protocol.case import (
    BoundSpec,
    BucketSpec,
    CaseSpec,
    InferenceFunction,
    WorkloadSpec,
)

Count = Annotated[int, Field(ge=0, lt=1 << 63)]
"""A number of bytes or of things."""

ExitCode = Annotated[int, Field(ge=-64, le=255)]
"""The exit code of a process; that of a signal is negative."""

Phase = Literal[
    "setup",
    "data",
    "forward",
    "backward",
    "optimizer",
    "validation",
    "test",
    "predict",
    "end of training",
    Hook,
]
"""The part of a probe that was running when it ended, or the hook in which it failed."""

TellPhase = Callable[[Phase], None]
"""Called when a phase begins, so that the phase is known even if the process dies in it."""


class DescribeTask(TypedDict):
    """Set up the workload, and train nothing."""

    task: Literal["describe"]
    batch_size: int
    """That of a command, which is described by a step, or of a training, which is made with one;
    other workloads are described at 1."""


class BucketBatch(TypedDict):
    """A bucket's data, and the size of its batches."""

    bucket: BucketSpec
    batch_size: int


class TrainTask(TypedDict):
    """Try one batch size."""

    task: Literal["train"]
    batch_size: int
    steps: int
    """Effective optimizer steps."""
    settle: bool
    """Whether the probe takes further steps while its peak grows."""
    epoch_steps: int
    """0: the data repeat for ever. Else epochs end, and the probe takes at most so many steps."""
    validation_steps: int
    """Validation batches at the end of an epoch; 0 for none."""
    validation_batch_size: int | None
    """The validation batch size to try; None leaves it to the workload's loader."""
    validation_share: float
    """The memory limit during validation, as a share of training's."""
    snapshot: str | None
    """The file for the allocator's history when memory runs out; None records no history."""
    history: str | None
    """The file for the sizes of all blocks when the training fits; None records none."""
    micro_batches: int | None
    """An optimizer step follows after at most so many; None: after what the Trainer says."""
    timed_seconds: NotRequired[float]
    """Makes this a timed probe: the steps after those that warm it up take at least so long."""
    buckets: NotRequired[list[BucketBatch]]
    """One: train on its data. Several: on a batch of each in turn; the last is the workload's."""


class InferTask(TypedDict):
    """Try one batch size of `trainer.validate`, `trainer.test` or `trainer.predict`."""

    task: Literal["infer"]
    function: InferenceFunction
    batch_size: int
    batches: int
    """Batches of each loader; 0: only count the samples of a pass."""
    whole_pass: bool
    """Whether memory is known to grow, so that what the rest of a pass keeps is extrapolated."""
    history: str | None  # as in a `TrainTask`


class SmallerBatch(TypedDict):
    """A second batch size, which shows what depends on the batch."""

    batch_size: int
    file: str
    """As in a `HoldersTask`; it is not written where this size does not train."""


class HoldersTask(TypedDict):
    """Train one batch size without a limit, and find out what holds the memory at the peak."""

    task: Literal["holders"]
    batch_size: int
    steps: int
    """Effective optimizer steps."""
    validation_steps: int
    """Validation batches after the steps; 0 for none."""
    file: str
    """The file for the holders, as `harness.predict.holders.PeakHolders` reads it."""
    snapshot: str | None
    """The file for torch's snapshot with stacks; None writes none."""
    micro_batches: int | None  # as in a `TrainTask`
    smaller: NotRequired[SmallerBatch]


class ProbeContext(TypedDict):
    """The keys of every request, beside those of its task."""

    bound: BoundSpec
    trainer: dict[str, Any]
    """The user's keywords for the Trainer."""
    workload: WorkloadSpec | None
    """A workload that the probe builds by itself; None: the one that the zygote has built."""


class DescribeRequest(DescribeTask, ProbeContext):
    """A request for a probe that describes the workload."""


class TrainRequest(TrainTask, ProbeContext):
    """A request for a probe that trains."""


class InferRequest(InferTask, ProbeContext):
    """A request for a probe of inference."""


class SweepRequest(lr.SweepTask, ProbeContext):
    """A request for a probe that sweeps the learning rate."""


class RatesRequest(lr.RatesTask, ProbeContext):
    """A request for a probe that reads learning rates."""


class LoadingRequest(lr.LoadingTask, ProbeContext):
    """A request for a probe that times the loader."""


class StrategyRequest(lr.StrategyTask, ProbeContext):
    """A request for a probe that calls a user's function."""


class HoldersRequest(HoldersTask, ProbeContext):
    """A request for a probe that finds out what holds the memory."""


Task = DescribeTask | TrainTask | InferTask | lr.LrTask | HoldersTask
LrRequest = SweepRequest | RatesRequest | LoadingRequest | StrategyRequest
Request = DescribeRequest | TrainRequest | InferRequest | LrRequest | HoldersRequest


class Kill(TypedDict):
    """End the probe of the last request."""

    task: Literal["kill"]


FailedOutcome = Literal["oom", "error", "dataset", "machine", "not offered"]
"""Outcomes of probes, trouble with the machine, or a change that the workload does not offer."""


class Failure(TypedDict):
    """The failure of a probe, or of the building of a workload."""

    outcome: FailedOutcome
    detail: str  # one line
    traceback: str | None
    rank: NotRequired[Count]
    """The rank that failed; absent where there is one process."""


class MemoryFacts(TypedDict, total=False):
    """Figures of torch's CUDA allocator beyond its peak, named as the fields of a `Probe`."""

    peak_allocated_bytes: Count
    non_torch_bytes: int
    alloc_retries: Count


class GrowthFacts(TypedDict):
    """Memory of which more is held after each step: the fields of a `Growth`."""

    phase: Literal["training", "validation", "test", "predict"]
    bytes_per_step: Count
    steps: Count
    pass_steps: Count | None
    given_back: bool | None


class TrainResult(MemoryFacts):
    """The answer to a TrainTask, whether it fits or not: the fields of a `Probe`."""

    outcome: Literal["fits"] | FailedOutcome
    detail: str | None
    traceback: str | None
    batch_size: Count
    peak_memory_bytes: Count
    memory_limit_bytes: Count
    samples: Count
    steps: Count
    samples_per_second: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    growing: bool
    growth: GrowthFacts | None
    above_limit: bool  # although it ran; `detail` tells why
    finite_loss: bool
    notes: list[str]
    """What thaws later; on a simulated GPU the lines where values decide, zeros there."""
    values_read: str | None
    """On a simulated GPU: the line that read a value last; None where none was read."""
    rank: Count | None
    """The rank that failed, or whose peak is the largest; None where there is one process."""


class InferResult(TrainResult):
    """The answer to an InferTask; its steps are batches."""

    pass_samples: Count | None
    """Samples in a pass; None where only a pass tells."""


class DescribeResult(TypedDict):
    """The answer to a DescribeTask that did not fail."""

    outcome: Literal["fits"]
    workload: dict[str, Any]
    """The facts that the fingerprint digests."""
    fingerprint: str
    num_samples: Count | None
    """Samples in a pass over the training data, not in the data set."""
    num_validation_samples: Count | None
    validation: bool
    synthetic: bool
    num_workers: Count
    torch_settings: dict[str, Any]
    """Global settings of torch that the building of the workload has changed."""
    memory_limit_bytes: Count
    sources: str | None
    """A digest of the code that a probe runs; None where that cannot be told."""
    versions: NotRequired[dict[str, str]]
    """Those of a command, whose Python may be another one than the zygote's."""


class HoldersResult(MemoryFacts):
    """The answer to a HoldersTask that did not fail; the holders are in the task's file."""

    outcome: Literal["fits"]
    peak_memory_bytes: Count


Result = TrainResult | InferResult | lr.LrResult | DescribeResult | HoldersResult | Failure


class Report(TypedDict, total=False):
    """A line from a probe to its supervisor; the last value of each key counts."""

    phase: Phase
    result: Result
    afresh: str
    """Why the probe starts Python anew instead of running in a fork."""
    steps: int
    """The number of steps that a sweep has done; the supervisor passes it on at once."""


class Afresh(TypedDict):
    """The data that a probe hands to the new Python that replaces it."""

    case: CaseSpec
    request: Request
    writer: int
    """The descriptor for its reports."""


class Ready(TypedDict):
    """The workload is built."""

    event: Literal["ready"]
    versions: dict[str, str]


class Failed(Failure):
    """The workload cannot be built."""

    event: Literal["failed"]


class Started(TypedDict):
    """A probe was forked."""

    event: Literal["started"]
    pid: Annotated[int, Field(gt=0, lt=1 << 31)]


class Ended(TypedDict):
    """A probe, and all that it started, is gone."""

    event: Literal["ended"]
    exit_code: ExitCode
    report: dict[str, Any]
    """A Report, as far as the probe's lines are what they should be."""
    garbage: str | None
    """The beginning of a line from the probe that is no report."""
    leftovers: int
    """The number of processes that it left behind."""


class Broken(TypedDict):
    """A probe could not be started, or its supervisor has died."""

    event: Literal["broken"]
    detail: str | None
    """The reason, in words; None: the exit code has it."""
    exit_code: ExitCode
    """That of the supervisor."""


class Idle(TypedDict):
    """The supervisor of the last probe is gone as well."""

    event: Literal["idle"]


Event = Ready | Failed | Started | lr.Progress | Ended | Broken | Idle
