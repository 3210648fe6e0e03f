"""Buckets of lengths: which argument of the data an edge replaces, and the data at each edge.

A sampler makes batches whose samples are of one bucket. The worst of a bucket is a batch whose
samples are all as long as its edge, so the data are built once for each edge.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from harness.matrix.field_types import Allowed, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from harness.case_names import Scalar
    from harness.matrix.case import Case
    from harness.protocol.case import BucketSpec, ObjectSpec, WorkloadSpec

    Path = tuple[str | int, ...]
    Refuse = Callable[[Path, str], None]

KEY = "buckets"
MAX_BUCKETS = 16
"""Each is searched on its own, and the probe of all of them takes the square of it in steps."""

_PARTS = ("data", "collate_fn")
"""The parts of a workload that an edge is for; the module is one for all of them."""
_MOST = 1e12


def _number(value: Any) -> Any:
    # Python counts true as 1.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _MOST:
        raise PydanticCustomError("no_edge", "no edge")
    return value


class BucketsSettings(Settings):
    """Buckets of lengths, each with a batch size of its own."""

    field: Annotated[
        str,
        Field(pattern=r"^[^\W\d][\w-]*(\.[^\W\d]\w*)*$"),
        Allowed("the name of an axis, or of an argument of data"),
    ]
    """The axis, or the argument of data, that is the length of a bucket's samples."""
    edges: Annotated[
        tuple[Annotated[int | float, Field(gt=0), BeforeValidator(_number)], ...],
        Field(min_length=1, max_length=MAX_BUCKETS),
        Allowed(f"a list of 1 to {MAX_BUCKETS} rising numbers above 0, such as [128, 256, 512]"),
    ]
    """The longest length of each bucket, the smallest first."""

    @model_validator(mode="after")
    def _rise(self) -> Self:
        for first, second in itertools.pairwise(self.edges):
            if first >= second:
                raise self.broken(
                    f"{second:g} stands behind {first:g}, and each edge is larger than the one "
                    "before, such as [128, 256, 512]",
                    "edges",
                )
        return self


def with_buckets(
    case: Case,
    settings: BucketsSettings,
    resolve: Callable[[Mapping[str, Scalar]], WorkloadSpec],
    refuse: Refuse,
) -> Case:
    """Return a case with the data of each bucket; its own data are those of the last one.

    resolve: makes the workload for other values of the axes.
    refuse: adds a mistake at a place below `buckets`.
    """
    if case.workload["data"] is None:
        refuse(
            ("field",),
            f"{case.id}: an edge replaces an argument of `data`, and this model has none: give it "
            "a data module or a data set",
        )
        return case
    field, last = settings.field, settings.edges[-1]
    own = case.axes.get(field)
    if isinstance(own, (int, float)) and own != last:
        refuse(
            ("edges",),
            f"{case.id}: the last edge is {last}, and {field} is {own} in this case: the longest "
            f'samples are what the case is for, so let the last edge be {own}, or "${{{field}}}"',
        )
        return case
    if _refused_beside(case, refuse):
        return case

    def at(edge: Any) -> WorkloadSpec:
        return resolve({**case.axes, field: edge}) if field in case.axes else case.workload

    workload = at(last)
    # A length that is no edge shows which arguments follow the axis.
    replaces = list(_differing(workload, at(last + 1)))
    own_argument: Path | None = None
    if not replaces:
        path = ("data", "init_args", *field.split("."))
        if _get(workload, path) is None:
            arguments = ", ".join(sorted((workload["data"] or {"init_args": {}})["init_args"]))
            what = (
                f'no argument of data is "${{{field}}}"'
                if field in case.axes
                else f"{field} is neither an axis nor an argument of data"
            )
            refuse(("field",), f"{case.id}: {what}; those of data: {arguments or 'none'}")
            return case
        replaces, own_argument = [path], path
    specs = tuple(_spec(at(edge), edge, own_argument) for edge in settings.edges)
    data, collate_fn = specs[-1]["data"], specs[-1]["collate_fn"]
    return replace(
        case,
        workload={**workload, "data": data, "collate_fn": collate_fn},
        buckets=specs,
        bucket_arguments=tuple(".".join(map(str, path)) for path in replaces),
    )


def _refused_beside(case: Case, refuse: Refuse) -> bool:
    """Refuse settings of the search that are for one batch size alone."""
    if case.search.global_batch_size is not None:
        refuse(
            (),
            f"{case.id}: `search.global_batch_size` makes each step of as many samples, and the "
            "batches of buckets differ: set null for this model",
        )
        return True
    if case.search.objective != "memory":
        refuse(
            (),
            f"{case.id}: `search.objective: {case.search.objective}` times the batch sizes of one "
            "length, and each bucket has its own: set memory for this model",
        )
        return True
    return False


def _spec(workload: WorkloadSpec, edge: float, argument: Path | None) -> BucketSpec:
    """Return the data of a bucket; an argument that follows no axis gets the edge here."""
    parts: dict[str, Any] = {part: copy.deepcopy(workload.get(part)) for part in _PARTS}
    if argument is not None:
        *outer, key = argument
        _get(parts, tuple(outer))[key] = edge
    data: ObjectSpec = parts["data"]
    return {"edge": edge, "data": data, "collate_fn": parts["collate_fn"]}


def _differing(one: WorkloadSpec, other: WorkloadSpec) -> Iterator[Path]:
    """Yield the places in which the data of two workloads differ."""
    for part in _PARTS:
        yield from _differences(one.get(part), other.get(part), (part,))


def _differences(one: Any, other: Any, path: Path) -> Iterator[Path]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key, value in one.items():
            yield from _differences(value, other.get(key), (*path, key))
    elif isinstance(one, list) and isinstance(other, list):
        for number, pair in enumerate(zip(one, other, strict=False)):
            yield from _differences(*pair, (*path, number))
    elif one != other:
        yield path


def _get(value: Any, path: Path) -> Any:
    for key in path:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return None
    return value
