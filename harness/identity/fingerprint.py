"""Describes a workload in a few readable values and one hash, its fingerprint.

A locked profile is valid for workloads with its fingerprint. Modules, data sets and samples are
recognised by what they offer (`named_parameters`, `__len__`, `shape`, `dtype`), so neither torch
nor NumPy is imported. Nothing is trained, and random states are restored.
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

    from harness.case_names import Scalar

# The class path of the module is not hashed, because renaming a class changes no memory. The counts
# are not hashed either, because `parameters` contains them.
_HASHED = ("parameters", "data", "num_samples", "sample", "trainer")
_MAX_NESTING = 8
_MAX_RECORD = 16
VARYING = "?"
"""Stands for a length or a kind in which samples differ."""


def describe_module(module: Any) -> dict[str, Scalar]:
    """Describe anything with `named_parameters()`: class path, counts, digest of the parameters.

    `parameters` is a hash over names, shapes and dtypes, whatever their order. The parameters of a
    lazy module have no shape yet; they are hashed without one.
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
    """Describe a data module or a data set: class path, number of training samples, one sample.

    Unknown values are left out, such as the length of a stream, or the samples of a data module
    that is not set up. A data module is asked for its training loader; `setup` is not called.
    """
    described: dict[str, Scalar] = {"data": class_path(data)}
    with _random_state_kept():
        dataset = training_dataset(data)
        try:
            num_samples = len(dataset)
        except Exception:  # noqa: BLE001 - a stream, or data that are not ready: no length
            return described
        described["num_samples"] = num_samples
        if hasattr(dataset, "__getitem__") and num_samples > 0:
            try:
                described["sample"] = describe_samples([dataset[i] for i in _spread(num_samples)])
            except Exception:  # noqa: BLE001 - keyed data have no sample 0; files may be gone
                return described
    return described


def describe_samples(samples: list[Any]) -> str:
    """Describe samples in one line: `float32[1, 32, 32], int64[]`; lengths that differ are `?`."""
    merged = _structure(samples[0], 0)
    for sample in samples[1:]:
        merged = _merged(merged, _structure(sample, 0))
    if isinstance(merged, _Group) and merged.keys is None and merged.members:
        # The outermost parentheses carry no information.
        return ", ".join(map(str, merged.members))
    return str(merged)


def fingerprint(workload: Mapping[str, Scalar]) -> str:
    """Return the hash of a description. Workloads with the same hash may share a locked profile."""
    return _digest([(key, workload[key]) for key in _HASHED if key in workload])


def workload_changes(
    old: Mapping[str, Scalar], new: Mapping[str, Scalar], only: Collection[str] | None = None
) -> tuple[str, ...]:
    """Return what differs between two descriptions: `num_parameters 11181642 -> 11689512`.

    only: the keys to compare; a key that one of the two lacks is then left out.
    """
    if only is not None:
        old, new = (
            {key: one[key] for key in only if key in old and key in one} for one in (old, new)
        )
    differ = {key for key in {*old, *new} if old.get(key) != new.get(key)}
    changes = mapping_changes(_without_digest(old), _without_digest(new))
    if "parameters" in differ and not {"num_parameters", "num_tensors"} & differ:
        # A digest shows that something changed, not what.
        changes += ("names, shapes or dtypes of the parameters",)
    return changes


def mapping_changes(
    old: Mapping[str, Any], new: Mapping[str, Any], absent: str = "none"
) -> tuple[str, ...]:
    """Return the values in which two mappings differ, by key: `precision 32-true -> bf16-mixed`.

    absent: the word for a value that one of them lacks.
    """
    return tuple(
        f"{key} {old.get(key, absent)} -> {new.get(key, absent)}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    )


def _without_digest(described: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return {key: value for key, value in described.items() if key != "parameters"}


def training_dataset(data: Any) -> Any:
    """Return the data set of a data module's training loader, or the data itself.

    Returns None when the loader cannot be made or has no single data set.
    """
    if not hasattr(data, "train_dataloader"):
        return data
    try:
        return data.train_dataloader().dataset
    except Exception:  # noqa: BLE001 - not set up, needs its Trainer, or several loaders
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
        return (
            self.kind if self.shape is None else f"{self.kind}[{', '.join(map(str, self.shape))}]"
        )


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
                tuple(_structure(value, nesting + 1) for _, value in items),
                tuple(key for key, _ in items),
            )
        if isinstance(sample, (tuple, list)):
            members = tuple(_structure(value, nesting + 1) for value in sample)
            if (
                isinstance(sample, list)
                and members
                and isinstance(common := _common(members), _Leaf)
            ):
                return _Leaf(common.kind, (len(members), *(common.shape or ())))
            return _Group(members)
    if hasattr(sample, "shape") and hasattr(sample, "dtype"):
        return _Leaf(
            str(sample.dtype).removeprefix("torch."), tuple(int(length) for length in sample.shape)
        )
    if hasattr(sample, "size") and hasattr(sample, "mode"):
        width, height = sample.size
        return _Leaf(f"image {sample.mode}", (height, width))
    return _Leaf(kind.__qualname__)


def _common(members: tuple[_Leaf | _Group, ...]) -> _Leaf | _Group | None:
    """Return the structure that all members of a list share, or None.

    Token ids come as lists of ints, and the length of such a list is a shape.
    """
    if len(set(members)) == 1:
        return members[0]
    # A short list is a record, such as an image and its mask. A long list is data, which one line
    # has to describe.
    if len(members) <= _MAX_RECORD:
        return None
    return reduce(_merged, members)


def _merged(one: _Leaf | _Group, other: _Leaf | _Group) -> _Leaf | _Group:
    """Return the structure that two samples have in common, with `?` where they differ."""
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
    """Restore the random states of Python, NumPy and torch: reading a sample may augment it."""
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
