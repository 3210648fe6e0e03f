"""The shape of a whole matrix file, for validation and for its JSON Schema."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from harness.settings import (
    Allowed,
    BoundsSettings,
    CallableSpec,
    DottedName,
    GpuSettings,
    LrRangeSettings,
    SearchSettings,
    Settings,
)
from harness.trainer_settings import TrainerSettings  # noqa: TC001 - pydantic evaluates annotations

REQUIRED_AXES = ("model", "gpu", "resolution")
LABEL = r"[A-Za-z0-9._]+(-[A-Za-z0-9._]+)*"
"""A label becomes part of a test id and of file names."""
LABEL_FORM = "letters, digits, dots and underscores, with dashes between them"

_Label = Annotated[str, Field(pattern=f"^{LABEL}$")]
_AxisValue = _Label | int | float | bool
_AXIS_SCHEMA: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "uniqueItems": True,
    "items": {"type": ["string", "number", "boolean"], "pattern": f"^{LABEL}$"},
}
_LABELLED = {"propertyNames": {"pattern": f"^{LABEL}$"}}
_DEFINITIONS = Allowed("a mapping of labels to what they stand for")


class Overrides(Settings):
    """What the top of the file, a model and a GPU may each set: the GPU overrides the model, and that the top."""

    trainer: TrainerSettings | None = None
    """Keywords of Lightning's Trainer."""
    search: SearchSettings | None = None
    """How the largest batch that trains is looked for."""
    lr_range: LrRangeSettings | None = None
    """The LR range test."""
    bounds: BoundsSettings | None = None
    """How far a measurement may fall behind its locked profile."""


class WorkloadSettings(Settings):
    """What a case trains."""

    module: CallableSpec
    """A LightningModule, or a plain nn.Module that is wrapped."""
    data: CallableSpec | None = None
    """A LightningDataModule, or a plain Dataset that is wrapped; left out when the module has its loaders."""
    loss: CallableSpec | None = None
    """Of a plain nn.Module: torch.nn.CrossEntropyLoss by default."""
    optimizer: CallableSpec | None = None
    """Of a plain nn.Module: torch.optim.AdamW with lr 1.0e-3 by default."""
    batch_size_attr: DottedName | None = None
    """Where the batch size is set, when it is not where Lightning's Tuner looks."""
    learning_rate_attr: DottedName | None = None
    """Where the learning rate is set, when it is not where Lightning's Tuner looks."""


class ModelSettings(WorkloadSettings, Overrides):
    """An entry below `models`."""


class GpuEntry(GpuSettings, Overrides):
    """An entry below `gpus`."""


class AxesSettings(Settings):
    """The axes, and what is taken from and added to their combinations, as in GitHub Actions."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"additionalProperties": _AXIS_SCHEMA},
    )

    model: Annotated[list[_Label] | None, Field(min_length=1)] = None
    """Labels of entries below `models`."""
    gpu: Annotated[list[_Label] | None, Field(min_length=1)] = None
    """Labels of entries below `gpus`."""
    resolution: Annotated[list[_AxisValue] | None, Field(min_length=1)] = None
    """Sides of images, lengths of sequences: any size that a workload has."""
    exclude: list[dict[str, _AxisValue]] | None = None
    """Combinations to leave out; one that names some of the axes stands for all that agree with it."""
    include: list[dict[str, _AxisValue]] | None = None
    """Values to add to the combinations they agree with, or whole cases to add; after exclude."""


class MatrixFile(Overrides):
    """The matrix of a GPU profiling harness: which models are profiled, on which GPUs, at which resolutions."""

    version: Annotated[Literal[1], Allowed("write version: 1")]
    """Of this format."""
    matrix: AxesSettings
    """The axes."""
    models: Annotated[dict[str, ModelSettings], Field(json_schema_extra=_LABELLED), _DEFINITIONS]
    """What the labels of the axis `model` stand for."""
    gpus: Annotated[dict[str, GpuEntry], Field(json_schema_extra=_LABELLED), _DEFINITIONS]
    """What the labels of the axis `gpu` stand for."""
