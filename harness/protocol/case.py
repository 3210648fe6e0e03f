"""The case that a zygote is started for: its workload and the bound on its memory.

Runs in no process, as its package.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

# pydantic cannot read the one of `typing` before Python 3.12.
from typing_extensions import TypedDict


class ObjectSpec(TypedDict):
    """A class or function to call, as LightningCLI writes it."""

    class_path: str
    init_args: dict[str, Any]


ModuleChange = Literal[
    "activation checkpointing", "channels_last", "fused optimizer", "8-bit optimizer"
]
"""A change of a module or its optimizer that a probe can make by itself."""


InferenceFunction = Literal["validate", "test", "predict"]
"""A function of the Trainer that trains nothing."""


class WorkloadSpec(TypedDict):
    """The workload of a case, as the matrix names it."""

    module: ObjectSpec | None
    """None where `training` or `command` trains."""
    data: ObjectSpec | None
    loss: ObjectSpec | None
    optimizer: ObjectSpec | None
    batch_size_attr: str | None
    learning_rate_attr: str | None
    collate_fn: NotRequired[ObjectSpec | None]
    """Collates the samples of a plain data set; a function itself is no constructor."""
    training: NotRequired[ObjectSpec | None]
    """Makes an object whose `step()` trains, in place of a module."""
    worst_batches: NotRequired[bool]
    """Whether probes train on the worst batches of the loaders; no matrix sets this here."""
    edge: NotRequired[float]
    """That of the bucket whose samples the data are; no matrix sets this here."""
    command: NotRequired[list[str] | None]
    """The words of a program that trains, in place of all of these; one has `${batch_size}`."""
    changes: NotRequired[list[ModuleChange]]
    """What is changed once it is built; no matrix sets this."""


class BucketSpec(TypedDict):
    """The data of a bucket of lengths, all as long as its edge."""

    edge: float
    data: ObjectSpec
    collate_fn: ObjectSpec | None


class RankPlace(TypedDict):
    """The place of a process among the ranks of a training."""

    rank: int
    num_ranks: int
    port: int
    """The port on this machine where the ranks meet; each probe has another one."""
    num_local: NotRequired[int]
    """The ranks on each machine, for a rank that stands for all; the others are absent then."""


class CaseSpec(TypedDict):
    """The first line to a zygote: the workload that it builds, and where."""

    workload: WorkloadSpec
    sys_path: list[str]
    directory: str | None
    """The working directory; None keeps the parent's."""
    scratch: str | None
    """The folder for temporary files; the zygote removes it at its end."""
    place: NotRequired[RankPlace]
    """The rank that its probes are; absent in a case of one process."""


class CpuBoundSpec(TypedDict):
    """The memory bound of a probe on the CPU."""

    accelerator: Literal["cpu"]
    budget_bytes: int
    place: NotRequired[RankPlace]
    """That of a rank, which has the budget for itself; absent in a probe of one process."""


class CudaBoundSpec(TypedDict):
    """The memory bound of a probe on a GPU."""

    accelerator: Literal["cuda"]
    budget_bytes: int | None
    """Cap on the memory; None allows all of it."""
    fraction: float
    """Share of the memory that training may reserve."""
    place: NotRequired[RankPlace]
    """That of a rank, whose GPU is the one with its number; absent in a probe of one process."""
    claim_bytes: NotRequired[int]
    """What it may reserve at most, whatever its limit: others use the GPU as well."""


BoundSpec = CpuBoundSpec | CudaBoundSpec
