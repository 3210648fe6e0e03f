"""Models a whole matrix file, for its validation and for its JSON Schema."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from harness.case_names import LABEL
from harness.matrix.buckets import BucketsSettings  # noqa: TC001 - pydantic evaluates it
from harness.matrix.callables import CallableSpec  # noqa: TC001 - pydantic evaluates it
from harness.matrix.commands import Command  # noqa: TC001 - pydantic evaluates it
from harness.matrix.field_types import Allowed, DottedName, Settings
from harness.matrix.loggers import Loggers  # noqa: TC001 - pydantic evaluates it
from harness.matrix.presets import Preset  # noqa: TC001 - pydantic evaluates it
from harness.matrix.settings import (
    BoundsSettings,
    GpuSettings,
    LrRangeSettings,
    SearchSettings,
    WorkersSettings,
)
from harness.matrix.trainer_settings import TrainerSettings  # noqa: TC001 - pydantic evaluates it

_Label = Annotated[str, Field(pattern=f"^{LABEL}$")]
_AxisValue = _Label | int | float | bool
_AXIS_SCHEMA: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "uniqueItems": True,
    "items": {"type": ["string", "number", "boolean"], "pattern": f"^{LABEL}$"},
}
_LABELLED = {"propertyNames": {"pattern": f"^{LABEL}$"}}
_DEFINITIONS = Allowed("a mapping of labels to their definitions")


class Overrides(Settings):
    """The settings that the top of the file, a model and a GPU may have.

    A model overrides the top of the file, and a GPU overrides both.
    """

    trainer: TrainerSettings | None = None
    """Keywords of Lightning's Trainer."""
    search: SearchSettings | None = None
    """Settings of the search for the largest batch."""
    lr_range: LrRangeSettings | None = None
    """Settings of the LR range test."""
    workers: WorkersSettings | None = None
    """The search for the workers of the training loader."""
    bounds: BoundsSettings | None = None
    """How far a measurement may fall behind its locked profile."""


class WorkloadSettings(Settings):
    """The workload: the module and the data that a case trains."""

    module: CallableSpec | None = None
    """A LightningModule, or a plain nn.Module, which is wrapped; or else `training` is given."""
    training: CallableSpec | None = None
    """A function that makes an object whose step() trains, in place of module and data."""
    command: Command | None = None
    """A program that trains, with ${batch_size} among its arguments, in place of all others."""
    data: CallableSpec | None = None
    """A LightningDataModule, or a data set, which is wrapped; by default the module's own."""
    collate_fn: CallableSpec | None = None
    """The function that makes a batch of a data set's samples; torch's default by default."""
    loss: CallableSpec | None = None
    """The loss of a plain nn.Module; torch.nn.CrossEntropyLoss by default."""
    optimizer: CallableSpec | None = None
    """The optimizer of a plain nn.Module; torch.optim.AdamW with lr 1.0e-3 by default."""
    batch_size_attr: DottedName | None = None
    """The attribute of the batch size; by default the one that Lightning's Tuner finds."""
    learning_rate_attr: DottedName | None = None
    """The attribute of the learning rate; by default the one that Lightning's Tuner finds."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        ways = [name for name in ("command", "training") if getattr(self, name) is not None]
        if not ways:
            if self.module is None:
                raise self.broken(
                    "module is missing; a mapping of class_path, init_args; or training or command "
                    "instead"
                )
            return self
        way = ways[0]
        for name in WorkloadSettings.model_fields:
            if name != way and getattr(self, name) is not None:
                raise self.broken(f"is not used beside {way}, which does it itself", name)
        if isinstance(self, ModelSettings):
            self.check_own(way)
        return self


class ModelSettings(WorkloadSettings, Overrides):
    """An entry below `models`."""

    buckets: BucketsSettings | None = None
    """Buckets of lengths, each with a batch size of its own."""

    def check_own(self, way: str) -> None:
        """Refuse settings of the model's own that have no effect on how it trains."""
        if self.buckets is not None:
            raise self.broken(
                f"replaces an argument of data, and {way} loads its own: remove it", "buckets"
            )
        if self.trainer is not None and not self.trainer.model_fields_set <= {"devices"}:
            raise self.broken(
                f"is Lightning's, and {way} runs without it: remove all but devices", "trainer"
            )
        if way != "command":
            return
        if self.lr_range is not None and self.lr_range.when != "never":
            raise self.broken(
                "is not used beside command, whose learning rate is its own: remove it", "lr_range"
            )
        if self.workers is not None and self.workers.max is not None:
            raise self.broken(
                "is not used beside command, whose loader is its own: remove it", "workers"
            )


class GpuEntry(GpuSettings, Overrides):
    """An entry below `gpus`."""


class AxesSettings(Settings):
    """The axes, and the combinations to leave out or to add, as in GitHub Actions."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"additionalProperties": _AXIS_SCHEMA},
    )

    model: Annotated[list[_Label] | None, Field(min_length=1)] = None
    """Labels of entries below `models`."""
    gpu: Annotated[list[_Label] | None, Field(min_length=1)] = None
    """Labels of entries below `gpus`."""
    resolution: Annotated[list[_AxisValue] | None, Field(min_length=1)] = None
    """Sides of images, lengths of sequences, or any other size of the workload."""
    exclude: list[dict[str, _AxisValue]] | None = None
    """Combinations to leave out; each entry leaves out all combinations that agree with it."""
    include: list[dict[str, _AxisValue]] | None = None
    """Values to add to the combinations that agree, or whole cases to add; after exclude."""


class MatrixFile(Overrides):
    """The matrix of gpu-profile: the models to profile, on which GPUs, and at which resolutions."""

    version: Annotated[Literal[1], Allowed("write version: 1")]
    """The version of this format."""
    preset: Preset | None = None
    """How much a run does: quick, thorough or production; explicit keys win over it."""
    matrix: AxesSettings
    """The axes."""
    models: Annotated[dict[str, ModelSettings], Field(json_schema_extra=_LABELLED), _DEFINITIONS]
    """What to train, by the labels of the axis `model`."""
    gpus: Annotated[dict[str, GpuEntry], Field(json_schema_extra=_LABELLED), _DEFINITIONS]
    """Where to train, by the labels of the axis `gpu`."""
    loggers: Loggers = ()
    """Loggers of Lightning, which get metrics, tuned values and plots of each case."""
