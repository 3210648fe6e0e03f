"""Defines a case: one combination of the matrix, with all its settings."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from harness.matrix.settings import WorkersSettings

if TYPE_CHECKING:
    from harness.case_names import Scalar
    from harness.matrix.presets import Preset
    from harness.matrix.settings import BoundsSettings, GpuSettings, LrRangeSettings, SearchSettings
    from harness.protocol.case import BucketSpec, WorkloadSpec


@dataclass(frozen=True, slots=True)
class Case:
    """One combination of the matrix. Cases share their mappings, so never change one."""

    id: str
    axes: dict[str, Scalar]
    """The values of model, GPU and resolution, then those of further axes in the file's order."""
    workload: WorkloadSpec
    """Plain data, ready for JSON."""
    device: GpuSettings
    trainer: dict[str, Any]
    """The keywords of the Trainer that the matrix sets."""
    search: SearchSettings
    lr_range: LrRangeSettings
    bounds: BoundsSettings
    workers: WorkersSettings = field(default_factory=WorkersSettings)
    preset: Preset | None = None
    """The preset of the run. What it sets is in `search` and `lr_range` already."""
    stated: tuple[SearchSettings, LrRangeSettings] | None = None
    """These two as they are without the preset; None where no preset changes them."""
    buckets: tuple[BucketSpec, ...] = ()
    """The data of each bucket of lengths; the workload has those of the last one."""
    bucket_arguments: tuple[str, ...] = ()
    """The arguments that an edge replaces, such as `data.init_args.length`."""
    loggers: tuple[dict[str, Any], ...] = ()
    """The loggers that get what a run finds, each with its class_path and init_args."""

    @property
    def without_preset(self) -> Case:
        """The same case with the settings that the matrix states, and defaults."""
        if self.stated is None:
            return self
        search, lr_range = self.stated
        return replace(self, search=search, lr_range=lr_range, preset=None, stated=None)

    @property
    def probed_workload(self) -> WorkloadSpec:
        """The workload as probes build it, with what the settings of the search say of it."""
        workload = self.workload
        if self.search.worst_batches:
            workload = {**workload, "worst_batches": True}
        return {**workload, "edge": self.buckets[-1]["edge"]} if self.buckets else workload

    def accumulation(self, batch_size: int) -> int:
        """Return the micro-batches of an optimizer step, as far as the matrix sets them."""
        own = int(self.trainer.get("accumulate_grad_batches", 1))
        return self.search.accumulation(batch_size) or own

    @property
    def global_batch_size(self) -> int | None:
        """Samples of an optimizer step on all ranks; `search` has those of one rank."""
        own = self.search.global_batch_size
        return None if own is None else own * self.num_ranks

    @property
    def num_ranks(self) -> int:
        """The GPUs of the case, each with one rank of its training."""
        return int(self.trainer.get("devices", 1))

    @property
    def model(self) -> str:
        """The label of its model."""
        return str(self.axes["model"])

    @property
    def gpu(self) -> str:
        """The label of its GPU."""
        return str(self.axes["gpu"])

    @property
    def resolution(self) -> Scalar:
        """The size of its inputs."""
        return self.axes["resolution"]
