"""What a workload is, in a few readable values and one hash: the ground on which a locked profile holds.

Modules, data sets and samples are told by what they offer (`named_parameters`, `__len__`, `shape`, `dtype`),
so that neither torch nor NumPy is imported. Nothing is trained and no random state is left changed.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from harness.measurement import Scalar

# The class path of the module is shown, and not hashed: to rename a class changes no memory. The counts are
# contained in `parameters`.
_HASHED = ("parameters", "data", "num_samples", "sample")
_MAX_NESTING = 8
_MAX_RECORD = 16
VARYING = "?"
"""In place of a length in which samples differ."""


def describe_module(module: Any) -> dict[str, Scalar]:
    """Describe anything with `named_parameters()`: class path, counts, and a digest of the parameters.

    `parameters` is a hash over the names, shapes and dtypes, whatever their order. Parameters of lazy modules
    have no shape yet and go in as such.
    """
    triples = sorted(
        (name.replace("_orig_mod.", ""), _parameter_shape(parameter), str(parameter.dtype))
        for name, parameter in module.named_parameters()
    )
    shapes = [shape for _, shape, _ in triples if isinstance(shape, list)]
    return {
        "module": class_path(module),
        "num_parameters": sum(_product(shape) for shape in shapes),
        "num_tensors": len(triples),
        "parameters": _digest(triples),
    }


def describe_data(data: Any) -> dict[str, Scalar]:
    """Describe a data module, or a data set: class path, number of training samples, one sample.

    What cannot be told, such as the length of a stream or the samples of a data module that is not set up, is
    left out. A data module is asked for its training loader; `setup` is not called.
    """
    described: dict[str, Scalar] = {"data": class_path(data)}
    with _random_state_kept():
        dataset = training_dataset(data)
        try:
            num_samples = len(dataset)
        except Exception:  # noqa: BLE001 - a stream, or a data set that is not ready: there is no length to tell
            return described
        described["num_samples"] = num_samples
        if hasattr(dataset, "__getitem__") and num_samples > 0:
            try:
                described["sample"] = describe_samples([dataset[i] for i in _spread(num_samples)])
            except Exception:  # noqa: BLE001 - keyed data sets have no sample 0; others read files that may be gone
                return described
    return described


def describe_samples(samples: list[Any]) -> str:
    """Describe samples in one line: `float32[1, 32, 32], int64[]`, with `?` for lengths that differ."""
    merged = _structure(samples[0], 0)
    for sample in samples[1:]:
        merged = _merged(merged, _structure(sample, 0))
    if isinstance(merged, _Group) and merged.keys is None and merged.members:
        # The outermost parentheses say nothing.
        return ", ".join(map(str, merged.members))
    return str(merged)


def fingerprint(workload: Mapping[str, Scalar]) -> str:
    """Return the hash of a description; two workloads with the same one may share a locked profile."""
    return _digest([(key, workload[key]) for key in _HASHED if key in workload])


def workload_changes(
    old: Mapping[str, Scalar], new: Mapping[str, Scalar], only: Collection[str] | None = None
) -> tuple[str, ...]:
    """Say what differs between two descriptions: `num_parameters 11181642 -> 11689512`.

    `only` limits the comparison to some keys; those that `old` does not have are not compared then.
    """
    keys = sorted({*old, *new}) if only is None else sorted(key for key in only if key in old)
    differ = [key for key in keys if old.get(key) != new.get(key)]
    changes = [
        f"{key} {old.get(key, 'none')} -> {new.get(key, 'none')}" for key in differ if key != "parameters"
    ]
    if "parameters" in differ and not {"num_parameters", "num_tensors"} & {*differ}:
        # A digest says that something changed, not what.
        changes.append("names, shapes or dtypes of the parameters")
    return tuple(changes)


def training_dataset(data: Any) -> Any:
    """Return the data set behind a data module's training loader, None where there is none, or the data itself."""
    if not hasattr(data, "train_dataloader"):
        return data
    return of_training_loader(data, "dataset")


def of_training_loader(data: Any, attribute: str) -> Any:
    """Return an attribute of the training loader of a data module, or of a module; None where it cannot be told."""
    try:
        return getattr(data.train_dataloader(), attribute)
    except Exception:  # noqa: BLE001 - not set up, needs its Trainer, or several loaders: nothing can be told
        return None


def class_path(thing: Any) -> str:
    """Return the dotted path of an object's class."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


@dataclass(frozen=True)
class _Leaf:
    """An array, an image, or anything else: its kind, and its shape where it has one."""

    kind: str
    shape: tuple[int | str, ...] | None = None

    def __str__(self) -> str:
        return self.kind if self.shape is None else f"{self.kind}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class _Group:
    """A tuple, a list, or a mapping with its keys."""

    members: tuple[_Leaf | _Group, ...]
    keys: tuple[str, ...] | None = None

    def __str__(self) -> str:
        if self.keys is None:
            return f"({', '.join(map(str, self.members))})"
        pairs = zip(self.keys, self.members, strict=True)
        return "{" + ", ".join(f"{key}: {member}" for key, member in pairs) + "}"


def _structure(sample: Any, nesting: int) -> _Leaf | _Group:
    kind = type(sample)
    if nesting < _MAX_NESTING:
        if isinstance(sample, Mapping):
            items = sorted((str(key), value) for key, value in sample.items())
            return _Group(
                tuple(_structure(value, nesting + 1) for _, value in items), tuple(key for key, _ in items)
            )
        if isinstance(sample, (tuple, list)):
            members = tuple(_structure(value, nesting + 1) for value in sample)
            if isinstance(sample, list) and members and isinstance(common := _common(members), _Leaf):
                return _Leaf(common.kind, (len(members), *(common.shape or ())))
            return _Group(members)
    if hasattr(sample, "shape") and hasattr(sample, "dtype"):
        return _Leaf(str(sample.dtype).removeprefix("torch."), tuple(int(length) for length in sample.shape))
    if hasattr(sample, "size") and hasattr(sample, "mode"):
        width, height = sample.size
        return _Leaf(f"image {sample.mode}", (height, width))
    return _Leaf(kind.__qualname__)


def _common(members: tuple[_Leaf | _Group, ...]) -> _Leaf | _Group | None:
    """Return what all members of a list are: token ids come as lists of ints, whose length is a shape."""
    if len(set(members)) == 1:
        return members[0]
    # A short list is a record, such as an image and its mask; a long one is data, of which one line must do.
    if len(members) <= _MAX_RECORD:
        return None
    return reduce(_merged, members)


def _merged(one: _Leaf | _Group, other: _Leaf | _Group) -> _Leaf | _Group:
    """Return what two samples have in common, `?` elsewhere."""
    if one == other:
        return one
    if isinstance(one, _Group) and isinstance(other, _Group):
        if one.keys == other.keys and len(one.members) == len(other.members):
            pairs = zip(one.members, other.members, strict=True)
            return _Group(tuple(_merged(*pair) for pair in pairs), one.keys)
    elif isinstance(one, _Leaf) and isinstance(other, _Leaf) and one.kind == other.kind:
        if one.shape is None or other.shape is None or len(one.shape) != len(other.shape):
            return _Leaf(one.kind, (VARYING,))
        lengths = zip(one.shape, other.shape, strict=True)
        return _Leaf(one.kind, tuple(a if a == b else VARYING for a, b in lengths))
    return _Leaf(VARYING)


def _spread(num_samples: int) -> list[int]:
    """Return the first, the middle and the last index: enough to see whether lengths vary."""
    return sorted({0, num_samples // 2, num_samples - 1})


def _parameter_shape(parameter: Any) -> list[int] | str:
    try:
        return [int(length) for length in parameter.shape]
    except RuntimeError:
        return "not initialised"


def _product(lengths: list[int]) -> int:
    product = 1
    for length in lengths:
        product *= length
    return product


def _digest(data: Any) -> str:
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Put the random states of Python, NumPy and torch back: samples may be augmented on reading."""
    python = random.getstate()
    numpy = sys.modules.get("numpy")
    numpy_state = numpy.random.get_state() if numpy else None
    torch = sys.modules.get("torch")
    torch_state = torch.random.get_rng_state() if torch else None
    try:
        yield
    finally:
        random.setstate(python)
        if numpy:
            numpy.random.set_state(numpy_state)
        if torch:
            torch.random.set_rng_state(torch_state)
