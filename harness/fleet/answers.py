"""Makes the answer of a node to one case, and checks it here: a node may send anything."""

from __future__ import annotations

import json
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from harness.devices.device import NoSuchDeviceError
from harness.errors import (
    HarnessError,
    MachineError,
    OutOfTimeError,
    WorkloadError,
)
from harness.lockfile.profiles import LockedProfile
from harness.lockfile.readable import refuse_unreadable
from harness.lockfile.toml_text import LockError
from harness.measurement import Measurement
from harness.visible import cut

if TYPE_CHECKING:
    from harness.matrix.case import Case

MAX_BYTES = 32 << 20
"""Of an answer, unpacked. Answers of long range tests with many seeds are about one MiB."""

_Kind = Literal["machine", "workload", "time", "device", "other"]
_ERRORS: dict[str, type[HarnessError]] = {
    "machine": MachineError,
    "workload": WorkloadError,
    "time": OutOfTimeError,
    "device": NoSuchDeviceError,
    "other": HarnessError,
}


class _Measured(TypedDict):
    """An answer with a measurement, which nearly all have."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc] # pydantic's own way

    measurement: Measurement


_MEASURED = TypeAdapter(_Measured)
_MEASUREMENTS = TypeAdapter(Measurement)
_MAX_TEXT = 1 << 20


class UnreadableAnswerError(Exception):
    """What has come from a node is no answer; the text is the reason."""


def of_measurement(measurement: Measurement, paths: dict[str, str]) -> bytes:
    """Return the answer with a measurement.

    paths: what its paths begin with on the node, and what they begin with where the run is.
    """
    return _pack({"measurement": measurement.to_json()}, paths)


def of_error(error: HarnessError, paths: dict[str, str]) -> bytes:
    """Return the answer with the reason why there is no measurement."""
    kind = next(name for name, one in _ERRORS.items() if isinstance(error, one))
    fields = {"kind": kind, "message": str(error), "detail": "", "log": None}
    if isinstance(error, WorkloadError):
        fields |= {"detail": error.detail, "log": error.log}
    return _pack({"error": fields}, paths)


def read(answer: bytes, case: Case, node: str) -> Measurement | HarnessError:
    """Return what a node has found for a case, or why it has found nothing.

    node: its name for people, with which an error of it begins: elsewhere the same may go well.

    Raises UnreadableAnswerError where it is something else: of another case or device, too, and
    where values have other types than reports and the lockfile need.
    """
    try:
        text = _unpack(answer)
        with suppress(ValidationError):
            # In one go: a run may have ten thousand answers.
            return _checked(_MEASURED.validate_json(text, strict=True)["measurement"], case)
        data = json.loads(text)
    except (ValueError, RecursionError, zlib.error) as error:
        raise UnreadableAnswerError(f"it is no JSON ({cut(str(error))})") from error
    if not isinstance(data, dict) or len(data) != 1:
        raise UnreadableAnswerError("it has neither a measurement nor an error")
    if "error" in data:
        return _error(data["error"], node)
    return _measurement(data.get("measurement"), case)


def _measurement(data: Any, case: Case) -> Measurement:
    try:
        # Strict, so that a text is no number; as JSON, whose lists are our tuples.
        measurement = _MEASUREMENTS.validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise UnreadableAnswerError(f"its measurement is none: {cut(what)}") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableAnswerError(f"its measurement is none: {cut(str(error))}") from error
    return _checked(measurement, case)


def _checked(measurement: Measurement, case: Case) -> Measurement:
    if measurement.axes != case.axes:
        raise UnreadableAnswerError(f"it is of another case: {cut(str(measurement.axes))}")
    if measurement.max_batch_size < 0 or measurement.source != "measured":
        raise UnreadableAnswerError("its values are impossible")
    if measurement.max_batch_size:
        try:
            # One profile that cannot be read back would keep the whole lockfile from being written.
            refuse_unreadable(LockedProfile.from_measurement(measurement))
        except LockError as error:
            first = str(error).partition(". ")[0]
            raise UnreadableAnswerError(f"its values are impossible: {cut(first)}") from error
    return measurement


def _error(data: Any, node: str) -> HarnessError:
    if not isinstance(data, dict) or data.get("kind") not in _ERRORS:
        raise UnreadableAnswerError("its error is none that is known here")
    message, detail, log = (data.get(name) for name in ("message", "detail", "log"))
    if (
        not isinstance(message, str)
        or not isinstance(detail, str)
        or not isinstance(log, str | None)
    ):
        raise UnreadableAnswerError("its error is no text")
    kind = _ERRORS[data["kind"]]
    if kind not in (NoSuchDeviceError, OutOfTimeError):
        message = f"on {node}: {message}"
    if kind is WorkloadError:
        return WorkloadError(message[:_MAX_TEXT], detail[:_MAX_TEXT], log)
    return kind(message[:_MAX_TEXT])


def _pack(data: dict[str, Any], paths: dict[str, str]) -> bytes:
    # Compressed it travels within a message, and not in the memory of a node that may be lost.
    return zlib.compress(json.dumps(_moved(data, paths)).encode())


def _unpack(answer: bytes) -> bytes:
    unpacking = zlib.decompressobj()
    text = unpacking.decompress(answer, MAX_BYTES)
    if unpacking.unconsumed_tail:
        raise ValueError(f"longer than {MAX_BYTES >> 20} MiB")
    return text


def _moved(data: Any, paths: dict[str, str]) -> Any:
    """Return data with the node's paths, anywhere in a text, as they are where the run is."""
    if isinstance(data, str):
        for there, here in paths.items():
            data = data.replace(there, here)
        return data
    if isinstance(data, dict):
        return {key: _moved(value, paths) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_moved(value, paths) for value in data]
    return data
