"""Locked profiles, and the lockfile that holds them: the reading side. Costs the import of `tomllib` alone.

A block's unknown keys are kept: a lock that a newer harness of the same format wrote goes through this one
unharmed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from harness.lock_text import LockError as LockError
from harness.lock_text import LockText, read_text
from harness.measurement import BoundedBy, DeviceIdentity, Scalar

if TYPE_CHECKING:
    from harness.measurement import Measurement

VERSION = 1
MAIN_AXES = ("model", "gpu", "resolution")
"""The axes at the top of a block, in the order of ids; further ones are in its table `axes`."""
MEMORY_TOLERANCE = 0.01
"""NVML's total of one GPU moves by less than this with the driver; products of one name differ by more."""


@dataclass(frozen=True, slots=True)
class LockedProfile:
    """The committed values of one case on one device."""

    axes: dict[str, Scalar]
    """Model, gpu, resolution, then further axes in the matrix' order."""
    device: DeviceIdentity
    batch_size: int
    """The tuned batch, the one to train with."""
    max_batch_size: int
    bounded_by: BoundedBy
    memory_limit_bytes: int
    fingerprint: str
    recipe: str
    emulated: bool = False
    """A CPU or a GPU with an artificial budget: never picked automatically at train time."""
    validation_batch_size: int | None = None
    learning_rate: float | None = None
    learning_rates: tuple[float, ...] = ()
    """One suggestion per seed."""
    lr_refusal: str | None = None
    """Why there is no learning rate."""
    peak_memory_bytes: int | None = None
    """At `max_batch_size`."""
    samples_per_second: float | None = None
    workload: dict[str, Scalar] = field(default_factory=dict)
    """What the fingerprint is made of, readable."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Dotted names and values of the recipe's settings that are not the defaults."""
    made_with: dict[str, str] = field(default_factory=dict)
    """Versions: provenance, never matched on."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Keys of the block that this version does not know; written back as they are."""

    @property
    def case_id(self) -> str:
        """The id of the case: `resnet18-h200-224`."""
        return case_id(self.axes)

    @classmethod
    def from_measurement(cls, measurement: Measurement) -> LockedProfile:
        """Make the profile that locks a measurement in which at least one batch size trained."""
        assert measurement.max_batch_size > 0, "a case in which nothing trains has nothing to lock"
        return cls(
            axes=dict(measurement.axes),
            device=measurement.device,
            batch_size=measurement.batch_size,
            max_batch_size=measurement.max_batch_size,
            bounded_by=measurement.bounded_by,
            memory_limit_bytes=measurement.memory_limit_bytes,
            fingerprint=measurement.fingerprint,
            recipe=measurement.recipe,
            emulated=measurement.emulated,
            validation_batch_size=measurement.validation_batch_size,
            learning_rate=measurement.learning_rate,
            learning_rates=measurement.learning_rates,
            lr_refusal=measurement.lr_refusal,
            peak_memory_bytes=measurement.peak_memory_bytes,
            samples_per_second=measurement.samples_per_second,
            workload=dict(measurement.workload),
            settings=plain(measurement.settings),
            made_with=dict(measurement.made_with),
        )


@dataclass(frozen=True)
class Lock:
    """The profiles of one lockfile, sorted by case and device."""

    path: Path
    profiles: tuple[LockedProfile, ...] = ()
    exists: bool = False
    """Whether there is such a file."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Keys beside `version` and `profile`, written back as they are."""

    def __iter__(self) -> Iterator[LockedProfile]:
        return iter(self.profiles)

    def __len__(self) -> int:
        return len(self.profiles)

    def find(self, axes: Mapping[str, Scalar], device: DeviceIdentity | None = None) -> LockedProfile | None:
        """Return the profile of a case on a device, or None.

        Without a device: the case's only profile. Raises LockError when it was locked on several devices.
        """
        found = [profile for profile in self.profiles if profile.axes == axes]
        if device is not None:
            return next((profile for profile in found if same_device(profile.device, device)), None)
        if len(found) > 1:
            devices = ", ".join(f"{profile.device.name} ({profile.device.memory_bytes:,} bytes)" for profile in found)
            raise LockError(f"{self.path}: {case_id(axes)} is locked on several devices: {devices}")
        return found[0] if found else None


def case_id(axes: Mapping[str, Scalar]) -> str:
    """Join the values of the axes: `resnet18-h200-224`."""
    return "-".join(label(value) for value in axes.values())


def label(value: Scalar) -> str:
    """Spell one value of an axis as test ids do."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def same_device(one: DeviceIdentity, other: DeviceIdentity) -> bool:
    """Say whether two identities mean the same device: equal names, memory within 1%."""
    larger = max(one.memory_bytes, other.memory_bytes)
    return one.name == other.name and abs(one.memory_bytes - other.memory_bytes) <= MEMORY_TOLERANCE * larger


def same_profile(one: LockedProfile, other: LockedProfile) -> bool:
    """Say whether two profiles lock the same case on the same device: there is room for one of them."""
    return one.axes == other.axes and same_device(one.device, other.device)


def sort(profiles: Iterable[LockedProfile]) -> tuple[LockedProfile, ...]:
    """Put profiles into the order of the file: by case id, then by device."""
    return tuple(
        sorted(profiles, key=lambda profile: (profile.case_id, profile.device.name, profile.device.memory_bytes))
    )


def plain(value: Any) -> Any:
    """Return a setting as TOML can hold it: lists for tuples, `"null"` for None, which TOML has not."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None:
        return "null"
    return value if isinstance(value, (str, int, float)) else str(value)


def read_lock(path: str | Path) -> Lock:
    """Read a lockfile; one that does not exist is an empty lock.

    Raises LockError, with file and line, for merge conflicts, an unknown version, text that is not TOML and
    a damaged block.
    """
    path = Path(path)
    text = read_text(path)
    if text is None:
        return Lock(path)
    tables = text.parse()
    _check_version(text, tables.pop("version", None))
    blocks = tables.pop("profile", [])
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        text.fail("profile is not a list of tables; each profile begins with [[profile]]", text.line_of("profile"))
    profiles = [_Block(text, number, block).read() for number, block in enumerate(blocks)]
    _refuse_duplicates(text, profiles)
    return Lock(path, sort(profiles), exists=True, extra=tables)


def _check_version(text: LockText, version: Any) -> None:
    line = text.line_of("version")
    if version is None:
        text.fail(f'no version: a lockfile begins with "version = {VERSION}"; restore it from git', 1)
    if isinstance(version, int) and version > VERSION:
        text.fail(f"version {version} is newer than the {VERSION} that this harness reads: upgrade it", line)
    if version != VERSION or isinstance(version, bool):
        text.fail(f"version {version!r} is not known; this harness reads {VERSION}", line)


def _refuse_duplicates(text: LockText, profiles: list[LockedProfile]) -> None:
    seen: dict[str, list[int]] = {}
    for number, profile in enumerate(profiles):
        for other in seen.setdefault(profile.case_id, []):
            if same_profile(profile, profiles[other]):
                first = text.line(other)
                text.fail(
                    f"{profile.case_id} on {profile.device.name} is locked twice"
                    f"{f', first on line {first}' if first else ''}: remove one of the blocks",
                    text.line(number),
                )
        seen[profile.case_id].append(number)


class _Block:
    """One `[[profile]]` that is being read: hands out its keys, and says what is wrong where."""

    def __init__(self, text: LockText, number: int, table: dict[str, Any]) -> None:
        self._text = text
        self._number = number
        self._table = dict(table)
        parts = [table[axis] for axis in MAIN_AXES if isinstance(table.get(axis), (str, int, float))]
        self._name = "-".join(label(part) for part in parts) or f"number {number + 1}"

    def read(self) -> LockedProfile:
        axes = self._axes()
        device, device_extra = self._device()
        profile = LockedProfile(
            axes=axes,
            device=device,
            emulated=self._flag("emulated"),
            batch_size=self._count("batch_size"),
            max_batch_size=self._count("max_batch_size"),
            validation_batch_size=self._optional_count("validation_batch_size"),
            bounded_by=self._bounded_by(),
            learning_rate=self._optional_number("learning_rate"),
            learning_rates=self._numbers("learning_rates"),
            lr_refusal=self._optional_string("lr_refusal"),
            peak_memory_bytes=self._optional_count("peak_memory_bytes"),
            memory_limit_bytes=self._count("memory_limit_bytes"),
            samples_per_second=self._optional_number("samples_per_second"),
            fingerprint=self._string("fingerprint"),
            recipe=self._string("recipe"),
            workload=self._scalars("workload"),
            settings=self._subtable("settings"),
            made_with=self._strings("made_with"),
            extra=self._table | ({"device": device_extra} if device_extra else {}),
        )
        if profile.batch_size > profile.max_batch_size:
            self._fail(
                "batch_size", f"{profile.batch_size}, is more than max_batch_size, {profile.max_batch_size}"
            )
        return profile

    def _axes(self) -> dict[str, Scalar]:
        axes: dict[str, Scalar] = {}
        for axis in MAIN_AXES:
            value = self._table.pop(axis, None)
            if value is None and axis == "resolution":
                continue
            if value is None:
                self._missing(axis)
            axes[axis] = self._scalar(axis, value)
            if axis != "resolution" and not isinstance(value, str):
                self._fail(axis, f"is {value!r}; a label in quotes is needed")
        return axes | self._scalars("axes")

    def _device(self) -> tuple[DeviceIdentity, dict[str, Any]]:
        table = self._subtable("device", required=True)
        for key in ("name", "memory_bytes"):
            if key not in table:
                self._missing(key, "device")
        name, memory_bytes = table.pop("name"), table.pop("memory_bytes")
        if not isinstance(name, str) or not name:
            self._fail("name", f"is {name!r}; the device's name in quotes is needed", "device")
        self._check_count("memory_bytes", memory_bytes, "device")
        return DeviceIdentity(name, memory_bytes), table

    def _bounded_by(self) -> BoundedBy:
        value = self._string("bounded_by")
        if value not in get_args(BoundedBy):
            self._fail("bounded_by", f"is {value!r}; one of {', '.join(get_args(BoundedBy))} is needed")
        return value  # type: ignore[return-value] # just checked against the words of the type

    def _count(self, key: str) -> int:
        if key not in self._table:
            self._missing(key)
        value = self._table.pop(key)
        self._check_count(key, value)
        return int(value)

    def _optional_count(self, key: str) -> int | None:
        return self._count(key) if key in self._table else None

    def _check_count(self, key: str, value: Any, table: str | None = None) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            self._fail(key, f"is {value!r}; a whole number from 1 is needed", table)

    def _optional_number(self, key: str) -> float | None:
        return self._number_of(key, self._table.pop(key)) if key in self._table else None

    def _numbers(self, key: str) -> tuple[float, ...]:
        values = self._table.pop(key, [])
        if not isinstance(values, list):
            self._fail(key, f"is {values!r}; a list of numbers is needed")
        return tuple(self._number_of(key, value) for value in values)

    def _number_of(self, key: str, value: Any) -> float:
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value) or value <= 0:
            self._fail(key, f"is {value!r}; a number above 0 is needed")
        return float(value)

    def _flag(self, key: str) -> bool:
        value = self._table.pop(key, False)
        if not isinstance(value, bool):
            self._fail(key, f"is {value!r}; true or false is needed")
        return value

    def _string(self, key: str) -> str:
        if key not in self._table:
            self._missing(key)
        value = self._optional_string(key)
        if not value:
            self._fail(key, "is empty; a text is needed")
        return value

    def _optional_string(self, key: str) -> str | None:
        value = self._table.pop(key, None)
        if value is not None and not isinstance(value, str):
            self._fail(key, f"is {value!r}; a text in quotes is needed")
        return value

    def _scalar(self, key: str, value: Any, table: str | None = None) -> Scalar:
        if not isinstance(value, (str, int, float)) or (isinstance(value, float) and not math.isfinite(value)):
            self._fail(key, f"is {value!r}; a text, a number, true or false is needed", table)
        return value

    def _scalars(self, table: str) -> dict[str, Scalar]:
        return {key: self._scalar(key, value, table) for key, value in self._subtable(table).items()}

    def _strings(self, table: str) -> dict[str, str]:
        values = self._subtable(table)
        for key, value in values.items():
            if not isinstance(value, str):
                self._fail(key, f"is {value!r}; a text in quotes is needed", table)
        return values

    def _subtable(self, key: str, *, required: bool = False) -> dict[str, Any]:
        if required and key not in self._table:
            self._missing(key)
        value = self._table.pop(key, {})
        if not isinstance(value, dict):
            self._fail(key, f"is {value!r}; a table [profile.{key}] is needed")
        return dict(value)

    def _missing(self, key: str, table: str | None = None) -> NoReturn:
        self._fail(key, "is missing", table)

    def _fail(self, key: str, problem: str, table: str | None = None) -> NoReturn:
        name = f"{table}.{key}" if table else key
        self._text.fail(
            f"profile {self._name}: {name} {problem}. Restore it from git, or remove the block and lock the case "
            "again with `pytest --gpu-profile --gpu-profile-update`",
            self._text.line(self._number, key, table),
        )
