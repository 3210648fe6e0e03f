"""Finds and sets a workload's batch size and learning rate, in the places of Lightning's Tuner.

The places are an attribute of the module, a key of its `hparams`, an attribute of the data module,
and a key of its `hparams`. Every place that exists is set, so that none contradicts the others. A
dotted name walks through objects and mappings: `config.batch_size`. The module imports no library:
it only asks objects for their attributes and keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.workload.cli_optimizers import OptimizerRate

BATCH_SIZE_NAMES = ("batch_size",)
LEARNING_RATE_NAMES = ("lr", "learning_rate")
"""Where both exist, the first counts, as for Lightning's `lr_find`."""
VALIDATION_BATCH_SIZE_NAMES = ("validation_batch_size", "val_batch_size", "eval_batch_size")
INFERENCE_BATCH_SIZE_NAMES = {
    "validate": VALIDATION_BATCH_SIZE_NAMES,
    "test": ("test_batch_size", "eval_batch_size"),
    "predict": ("predict_batch_size", "eval_batch_size"),
}
"""By function of the Trainer. The common names come after: a loader may have no own."""
NUM_WORKERS_NAMES = ("num_workers",)
BUCKET_NAMES = ("bucket_batch_sizes",)
"""The batch sizes of a sampler's buckets, by edge."""

_ABSENT = object()
# A configuration is a few levels deep: `config.data.batch_size`.
_MAX_DEPTH = 3
_MAX_MEMBERS = 500
# What other batch sizes, and numbers of batches, are called.
_NOT_TRAINING = ("val", "eval", "test", "predict", "accumulate", "batches", "batch_idx")


@dataclass(frozen=True)
class _Place:
    """One attribute or key that holds a value."""

    holder: Any
    key: str
    shown: str

    def get(self) -> Any:
        return _member(self.holder, self.key)

    def set(self, value: Any) -> None:
        if isinstance(self.holder, MutableMapping):
            self.holder[self.key] = value
        else:
            setattr(self.holder, self.key, value)


def set_batch_size(module: Any, datamodule: Any, value: int, attr: str | None = None) -> None:
    """Set the training batch size in every place that has one.

    attr: another attribute that is set instead; dots lead into objects and mappings.

    Raises HarnessError, which names the places, when none has a batch size; also when a place does
    not accept the value.
    """
    _set(module, datamodule, value, (attr,) if attr else BATCH_SIZE_NAMES, "batch_size_attr")


def set_learning_rate(module: Any, datamodule: Any, value: float, attr: str | None = None) -> None:
    """Set the learning rate, as `set_batch_size` sets the batch size."""
    if attr is None and (made := _made_rate(module)) is not None:
        made.set(value)
        return
    _set(module, datamodule, value, (attr,) if attr else LEARNING_RATE_NAMES, "learning_rate_attr")


def set_validation_batch_size(datamodule: Any, value: int) -> bool:
    """Set the data module's own validation batch size, and return whether it has one."""
    return set_inference_batch_size(datamodule, "validate", value)


def set_inference_batch_size(owner: Any, function: str, value: int) -> bool:
    """Set the batch size that the owner of loaders has for a function of the Trainer alone.

    function: `validate`, `test` or `predict`.

    Returns whether it has one.
    """
    places = _places(owner, None, INFERENCE_BATCH_SIZE_NAMES[function])
    _assign(places, value)
    return bool(places)


def set_num_workers(owner: Any, value: int) -> tuple[str, ...]:
    """Set the workers of the training loader where its owner has them; return these places."""
    places = _places(owner, None, NUM_WORKERS_NAMES)
    _assign(places, value)
    return tuple(place.shown for place in places)


def set_bucket_batch_sizes(module: Any, datamodule: Any, sizes: Mapping[float, int]) -> bool:
    """Set the batch sizes of buckets, by edge; return whether the workload has a place for them."""
    places = _places(module, datamodule, BUCKET_NAMES)
    _assign(places, dict(sizes))
    return bool(places)


def get_batch_size(module: Any, datamodule: Any, attr: str | None = None) -> Any:
    """Return the training batch size.

    Where several places have one, the data module's counts, as for Lightning.

    Raises HarnessError, which names the places, when none has a batch size.
    """
    return _get(module, datamodule, (attr,) if attr else BATCH_SIZE_NAMES, "batch_size_attr")


def get_learning_rate(module: Any, datamodule: Any, attr: str | None = None) -> Any:
    """Return the learning rate, as `get_batch_size` returns the batch size."""
    if attr is None and (made := _made_rate(module)) is not None:
        return made.get()
    return _get(module, datamodule, (attr,) if attr else LEARNING_RATE_NAMES, "learning_rate_attr")


def learning_rate_places(module: Any, datamodule: Any, attr: str | None = None) -> tuple[str, ...]:
    """Return the places that hold the learning rate, such as `Net.lr`; none if nothing does."""
    if attr is None and (made := _made_rate(module)) is not None:
        return (made.shown,)
    places = _places(module, datamodule, (attr,) if attr else LEARNING_RATE_NAMES)
    return tuple(place.shown for place in places)


def likely_batch_sizes(module: Any, datamodule: Any, value: int | None = None) -> dict[str, str]:
    """Return the attributes that look like a training batch size: dotted names, and as shown.

    value: what they hold; None: any whole number.
    """
    found: dict[str, str] = {}
    for root, shown in _roots(module, datamodule):
        for name, number in _numbers_below(root, "", _MAX_DEPTH):
            key = name.rpartition(".")[2]
            if "batch" in key and key not in (*BATCH_SIZE_NAMES, *VALIDATION_BATCH_SIZE_NAMES):
                fits = value is None or number == value
                if fits and not any(word in key for word in _NOT_TRAINING):
                    found.setdefault(name, f"{shown}.{name}")
    return found


def shown(names: Mapping[str, str]) -> str:
    """Return the names of attributes as a list in a sentence."""
    return " or ".join(names.values())


def _made_rate(module: Any) -> OptimizerRate | None:
    """Return the rate of an optimizer that LightningCLI has made in place of the module's own."""
    if "configure_optimizers" not in getattr(module, "__dict__", ()):
        return None
    # On the CPU each module counts in the memory, so other probes do not import it.
    from harness.workload.cli_optimizers import made_by_cli  # noqa: PLC0415

    return made_by_cli(module)


def _numbers_below(holder: Any, prefix: str, depth: int) -> Iterator[tuple[str, int]]:
    """Yield the whole numbers of an object or a mapping and of plain objects below it."""
    members = holder if isinstance(holder, Mapping) else getattr(holder, "__dict__", {})
    for key, value in list(members.items())[:_MAX_MEMBERS]:
        if not isinstance(key, str) or key.startswith("_") or key == "trainer":
            continue  # a Trainer leads to every other object
        if isinstance(value, int) and not isinstance(value, bool):
            yield prefix + key, value
        elif depth and (isinstance(value, Mapping) or _is_plain(value)):
            yield from _numbers_below(value, f"{prefix}{key}.", depth - 1)


def _is_plain(thing: Any) -> bool:
    """Return whether an object may be a configuration: neither a module nor a Trainer nor data."""
    kind = type(thing)
    return hasattr(thing, "__dict__") and not (
        isinstance(thing, type)
        or callable(thing)
        or hasattr(kind, "__iter__")
        or hasattr(kind, "__getitem__")
        or kind.__module__.partition(".")[0] in ("torch", "lightning", "pytorch_lightning")
    )


def _get(module: Any, datamodule: Any, names: tuple[str, ...], option: str) -> Any:
    places = _places(module, datamodule, names)
    if not places:
        raise _not_found(module, datamodule, names, option)
    return places[-1].get()


def _set(module: Any, datamodule: Any, value: float, names: tuple[str, ...], option: str) -> None:
    places = _places(module, datamodule, names)
    if not places:
        raise _not_found(module, datamodule, names, option)
    _assign(places, value)


def _assign(places: list[_Place], value: Any) -> None:
    refused: dict[str, str] = {}
    for place in places:
        try:
            place.set(value)
        except Exception as error:  # noqa: BLE001 - a property or a config may raise anything
            refused[place.shown] = f" ({type(error).__name__}: {error})"
    # A place that refused may hold the value: a read-only property over a place that was set.
    for place in places:
        now = place.get()
        if now != value:
            raise HarnessError(
                f"{place.shown} cannot be set to {value}: it is {now}"
                f"{refused.get(place.shown, '')}; make it assignable, or name another attribute"
            )


def _places(module: Any, datamodule: Any, names: tuple[str, ...]) -> list[_Place]:
    """Return all places of the first of `names` that any place has."""
    for name in names:
        places = []
        for root, shown in _roots(module, datamodule):
            *path, key = name.split(".")
            holder = root
            for part in path:
                holder = _member(holder, part)
            value = _member(holder, key)
            # A method of that name holds no value.
            if value is not _ABSENT and not callable(value):
                places.append(_Place(holder, key, f"{shown}.{name}"))
        if places:
            return places
    return []


def _roots(module: Any, datamodule: Any) -> list[tuple[Any, str]]:
    roots = []
    for thing in (module, datamodule):
        if thing is not None:
            shown = type(thing).__name__
            roots.append((thing, shown))
            hparams = _member(thing, "hparams")
            if hparams is not _ABSENT:
                roots.append((hparams, f"{shown}.hparams"))
    return roots


def _member(holder: Any, key: str) -> Any:
    """Return a key of a mapping or an attribute of an object, or `_ABSENT`."""
    if holder is _ABSENT or holder is None:
        return _ABSENT
    try:
        if isinstance(holder, MutableMapping):
            return holder.get(key, _ABSENT)
        return getattr(holder, key, _ABSENT)
    except Exception:  # noqa: BLE001 - some properties of Lightning's raise without a Trainer
        return _ABSENT


def _not_found(module: Any, datamodule: Any, names: tuple[str, ...], option: str) -> HarnessError:
    looked_at = [f"{shown}.{name}" for name in names for _, shown in _roots(module, datamodule)]
    what = "batch size" if option == "batch_size_attr" else "learning rate"
    text = (
        f"no {what} to set: looked for {', '.join(looked_at)}. Add one of these attributes and use "
        f"it, or name another one with {option}; a dotted name leads into an object: "
        f"config.{names[0].split('.')[-1]}"
    )
    if option == "batch_size_attr" and (likely := likely_batch_sizes(module, datamodule)):
        text += f". There is {shown(likely)}: set `batch_size_attr: {next(iter(likely))}`"
    return HarnessError(text)
