"""Makes the settings of each combination: merges overrides, replaces `${axis}`, and validates.

Combinations share their settings: a part is made once for each set of axis values that it refers
to.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.matrix import buckets, commands, ranks
from harness.matrix.callables import CallableSpec
from harness.matrix.case import Case
from harness.matrix.file_model import WorkloadSettings
from harness.matrix.layers import mapping_at, merge_layers, origin
from harness.matrix.loggers import CASE, KEY, LoggersSettings
from harness.matrix.presets import LAYERS
from harness.matrix.references import references, substitute
from harness.matrix.settings import (
    BoundsSettings,
    GpuSettings,
    LrRangeSettings,
    SearchSettings,
    WorkersSettings,
)
from harness.matrix.trainer_settings import ACCUMULATES, TrainerSettings, other_accumulation

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from harness.case_names import Scalar
    from harness.matrix.field_types import Settings
    from harness.matrix.mistakes import Mistakes
    from harness.matrix.presets import Preset

    Path = tuple[str | int, ...]

_OVERRIDES: dict[str, type[Settings]] = {
    "trainer": TrainerSettings,
    "search": SearchSettings,
    "lr_range": LrRangeSettings,
    "bounds": BoundsSettings,
    "workers": WorkersSettings,
}
MAX_VALUES = 10_000_000
"""The limit of values in the settings of all cases; shared settings count once.

A larger matrix is a slip, and would not fit into memory.
"""


@dataclass(slots=True)
class Context:
    """The state that all parts of a matrix share."""

    axes: Collection[str]
    """The names of all axes."""
    mistakes: Mistakes
    check_class_paths: Callable[[Any, Callable[[Path], Path]], None]
    """Adds a mistake for each class path below a value that cannot be imported."""
    num_values: int = 0
    """The number of values made so far."""

    def count(self, num_values: int) -> None:
        """Count values before they are made. Raises MatrixError when there would be too many."""
        self.num_values += num_values
        if self.num_values > MAX_VALUES:
            self.mistakes.add(
                ("matrix",),
                f"the settings of its cases hold more than {MAX_VALUES:,} values: make it smaller",
            )
            self.mistakes.raise_any()


class Part:
    """One part of the settings, such as `search`; it depends on the axis values it refers to."""

    def __init__(
        self,
        raw: dict[str, Any],
        model: type[Settings],
        locate: Callable[[Path], Path],
        context: Context,
    ) -> None:
        self._raw = raw
        self._model = model
        self._locate = locate
        self._context = context
        # That of the batch size stays in a command, for its probes.
        self._references = [
            (path, name)
            for path, name in references(raw)
            if path != (commands.KEY,) or name != commands.BATCH_SIZE
        ]
        self._axes = tuple(sorted({name for _, name in self._references}))
        self._num_values = _count(raw)
        # A class path without `${axis}` is checked once, together with the whole file.
        self._late_class_paths = any(path[-1:] == ("class_path",) for path, _ in self._references)
        self._made: dict[tuple[object, ...], Any] = {}

    def resolve(self, axes: Mapping[str, Scalar], identifier: str) -> Any:
        """Return the part for these axis values; add its mistakes and return None if it has any."""
        # The class is in the key because Python has True == 1.
        key = tuple([(axes.get(name).__class__, axes.get(name)) for name in self._axes])
        if key not in self._made:
            self._made[key] = self._make(axes, identifier)
        return self._made[key]

    def refuse(self, place: Path, message: str) -> None:
        """Add a mistake at a place in this part."""
        self._context.mistakes.add(self._locate(place), message)

    def _make(self, axes: Mapping[str, Scalar], identifier: str) -> Any:
        context = self._context
        context.count(self._num_values)
        for path, name in self._references:
            if name not in axes and name in context.axes:
                context.mistakes.add(
                    self._locate(path), f"${{{name}}} has no value in the case {identifier}"
                )
        data = substitute(self._raw, axes)
        if self._model is WorkloadSettings and isinstance(self._raw.get(commands.KEY), str):
            data[commands.KEY] = commands.without_batch_size(self._raw[commands.KEY], axes)
        if self._late_class_paths:
            context.check_class_paths(data, self._locate)
        try:
            made = self._model.model_validate(data)
        except ValidationError as error:
            context.mistakes.add_invalid(self._model, error, self._locate)
            return None
        return _plain(made) if isinstance(made, (WorkloadSettings, TrainerSettings)) else made


class Resolver:
    """Makes the cases of a matrix, and adds their mistakes at the lines that cause them."""

    def __init__(
        self, root: dict[str, Any], context: Context, preset: Preset | None = None
    ) -> None:
        self._root = root
        self._context = context
        self._preset: Preset | None = preset
        self._layers = LAYERS[preset] if preset else {}
        named = root.get(KEY)
        named = {KEY: named} if isinstance(named, list) else {}
        self._loggers = Part(named, LoggersSettings, lambda place: place, context)
        self._parts: dict[tuple[str, ...], Part] = {}
        self._pairs: dict[tuple[str, str], tuple[Part, ...]] = {}
        self._stated: dict[tuple[str, str], tuple[Part, ...]] = {}

    @property
    def mistakes(self) -> Mistakes:
        """The mistakes of the matrix."""
        return self._context.mistakes

    def resolve(self, axes: dict[str, Scalar], identifier: str) -> Case | None:
        """Return a case, or None when its settings have mistakes."""
        pair = str(axes["model"]), str(axes["gpu"])
        if pair not in self._pairs:
            self._pairs[pair] = self._pair(*pair)
            self._stated[pair] = tuple(
                self._override(kind, *pair, {}) for kind in ("search", "lr_range") if self._layers
            )
        parts = self._pairs[pair]
        made = [part.resolve(axes, identifier) for part in parts]
        if None in made:
            return None
        case = self._with_buckets(Case(identifier, axes, *made), parts[0])
        logged = self._loggers.resolve({CASE: identifier, **axes}, identifier)
        if logged is None:
            return None
        case = replace(case, loggers=logged.plain())
        trainer = parts[2 + list(_OVERRIDES).index("trainer")]
        for key, message in ranks.refusals(case):
            trainer.refuse((key,), f"{case.id}: {message}")
        if case.workload.get("command") is not None:
            case = replace(case, trainer=ranks.number_of(case))
        elif case.workload.get("training") is not None:
            case = self._of_training(case)
        elif case.search.global_batch_size is not None:
            for name in other_accumulation(case.trainer):
                trainer.refuse(name, ACCUMULATES)
        stated: Any = tuple(part.resolve(axes, identifier) for part in self._stated[pair])
        if self._preset:
            case = replace(case, preset=self._preset, stated=stated or None)
        case = ranks.per_rank(case)
        return case if case.workload.get("command") is None else self._of_command(case)

    def _of_command(self, case: Case) -> Case:
        """Return the case of a command, which does itself what others ask of a Trainer."""
        for message in commands.refusals(case.without_preset):
            self.mistakes.add(("models", case.model, "command"), f"{case.id}: {message}")
        return commands.of_command(case)

    def _of_training(self, case: Case) -> Case:
        """Return the case of a training, which runs without Lightning's Trainer."""
        place = ("models", case.model, "training")
        if case.search.validation == "search":
            self._context.mistakes.add(
                place,
                f"{case.id}: `search.validation: search` asks for a batch size of validation's "
                "own, and a training says it itself, in its validate() or its TrainingArguments: "
                "set true or false for this model",
            )
        if case.search.worst_batches:
            self._context.mistakes.add(
                place,
                f"{case.id}: `search.worst_batches` walks the loaders of a module or data module, "
                "and a training loads its own data: set false for this model, and let the training "
                "begin with its largest batches",
            )
        if case.search.inference:
            self._context.mistakes.add(
                place,
                f"{case.id}: `search.inference` runs functions of Lightning's Trainer, and a "
                "training runs without it: set [] for this model",
            )
        if case.search.global_batch_size is not None:
            self._context.mistakes.add(
                place,
                f"{case.id}: `search.global_batch_size` sets the accumulation of Lightning's "
                "Trainer, and a training accumulates by itself, in its step() or by its "
                "TrainingArguments: set null for this model",
            )
        return replace(case, trainer=ranks.number_of(case))

    def _with_buckets(self, case: Case, workload: Part) -> Case:
        """Return the case with the data of each bucket, if its model has buckets."""
        place = ("models", case.model, buckets.KEY)
        raw = mapping_at(mapping_at(mapping_at(self._root, "models"), case.model), buckets.KEY)
        if not raw or any(case.workload.get(way) is not None for way in ("training", "command")):
            return case
        part = self._parts.setdefault(
            place,
            Part(raw, buckets.BucketsSettings, lambda below: (*place, *below), self._context),
        )
        settings = part.resolve(case.axes, case.id)
        if settings is None:
            return case
        return buckets.with_buckets(
            case, settings, lambda axes: workload.resolve(axes, case.id), part.refuse
        )

    def _pair(self, model: str, gpu: str) -> tuple[Part, ...]:
        return (
            self._definition("models", model, WorkloadSettings),
            self._definition("gpus", gpu, GpuSettings),
            *(self._override(kind, model, gpu, self._layers) for kind in _OVERRIDES),
        )

    def _definition(self, block: str, label: str, model: type[Settings]) -> Part:
        key = (block, label)
        if key not in self._parts:
            entry = mapping_at(mapping_at(self._root, block), label)
            # The check of the whole file has reported unknown keys.
            own = {name: value for name, value in entry.items() if name in model.model_fields}
            self._parts[key] = Part(own, model, lambda place: (*key, *place), self._context)
        return self._parts[key]

    def _override(
        self, kind: str, model: str, gpu: str, below: Mapping[str, dict[str, Any]]
    ) -> Part:
        """Return the part with all its layers; `below` are those of a preset."""
        owners: dict[Path, Mapping[str, Any]] = {
            ("preset",): below,
            (): self._root,
            ("models", model): mapping_at(mapping_at(self._root, "models"), model),
            ("gpus", gpu): mapping_at(mapping_at(self._root, "gpus"), gpu),
        }
        layers = [
            ((*path, kind), layer)
            for path, owner in owners.items()
            if (layer := mapping_at(owner, kind))
        ]
        # The key leaves out empty layers, so that most pairs of model and GPU share one part.
        key = (kind, *(str(part) for path, _ in layers for part in path))
        if key not in self._parts:
            merged, origins = merge_layers(layers)
            self._parts[key] = Part(
                merged, _OVERRIDES[kind], lambda place: origin(place, origins, kind), self._context
            )
        return self._parts[key]


def _plain(settings: WorkloadSettings | TrainerSettings) -> dict[str, Any]:
    """Return data for JSON: all keys of a workload, but only the keys that are set of a Trainer."""
    plain: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, CallableSpec):
            plain[name] = value.plain()
        elif name == commands.KEY and value is not None:
            plain[name] = commands.split(value)
        elif isinstance(value, list):
            plain[name] = [spec.plain() for spec in value]
        elif isinstance(settings, WorkloadSettings) or (
            name in settings.model_fields_set and value is not None
        ):
            plain[name] = value
    return plain


def _count(value: Any) -> int:
    """Return the number of values in a value; a text with references counts by its length."""
    if isinstance(value, str):
        return 1 + len(value) // 2 if "${" in value else 1
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_count, items))
