"""Names the values of a case that a test reports as properties, which JUnit's XML holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.visible import cut

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.case_names import Scalar
    from harness.measurement import Profile
    from harness.report.case_result import CaseResult

_PREFIX = "gpu_profile."
_FOUND = (
    "batch_size",
    "max_batch_size",
    "predicted_batch_size",
    "validation_batch_size",
    "bounded_by",
    "learning_rate",
    "peak_memory_bytes",
    "memory_limit_bytes",
    "samples_per_second",
    "samples_per_second_spread",
)
_LOCKED = ("batch_size", "max_batch_size", "predicted_batch_size", "learning_rate")


def properties_of(result: CaseResult) -> list[tuple[str, Scalar]]:
    """Return the properties of a case's test: `gpu_profile.max_batch_size` and others.

    The names are those of report.json, and what is not known is left out. Texts are short and
    visible, so that they are valid in XML.
    """
    return [
        (f"{_PREFIX}{name}", cut(value) if isinstance(value, str) else value)
        for name, value in _values(result)
        if value is not None
    ]


def _values(result: CaseResult) -> Iterator[tuple[str, Scalar | None]]:
    yield "case", result.case_id
    yield from result.axes.items()
    yield "status", result.status
    yield "source", result.source
    found, locked = result.measurement, result.locked
    device = found or locked
    yield "device_name", None if device is None else device.device.name
    yield "device_memory_bytes", None if device is None else device.device.memory_bytes
    yield from _of_profile(found, _FOUND)
    yield from ((f"locked_{name}", value) for name, value in _of_profile(locked, _LOCKED))


def _of_profile(
    profile: Profile | None, names: tuple[str, ...]
) -> Iterator[tuple[str, Scalar | None]]:
    for name in names:
        yield name, getattr(profile, name, None)
