"""Locked profiles, and the lockfile that holds them: the reading side. Costs the import of `tomllib` alone.

A block's unknown keys are kept: a lock that a newer harness of the same format wrote goes through this one
unharmed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from harness.lock_block import Block
from harness.lock_text import LockError, LockText, read_text, shown_path
from harness.measurement import BoundedBy, DeviceIdentity, Scalar, Source
from harness.substitution import case_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from harness.measurement import Measurement

__all__ = [
    "Lock",
    "LockError",
    "LockedProfile",
    "case_id",
    "parse_lock",
    "read_lock",
    "same_device",
    "same_profile",
    "sort",
]

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
    source: Source = "measured"
    """`predicted`: nothing was trained, `max_batch_size` is a prediction, and `batch_size` keeps 5% away from it."""
    validation_batch_size: int | None = None
    learning_rate: float | None = None
    learning_rates: tuple[float, ...] = ()
    """One suggestion per seed."""
    lr_refusal: str | None = None
    """Why there is no learning rate."""
    peak_memory_bytes: int | None = None
    """At `max_batch_size`."""
    samples_per_second: float | None = None
    predicted_batch_size: int | None = None
    """The largest batch by prediction, also beside a measured one."""
    predicted_with: dict[str, str] = field(default_factory=dict)
    """Versions of the prediction."""
    predicted_peak: dict[str, int] = field(default_factory=dict)
    """What holds most at the predicted batch's peak, in bytes."""
    workload: dict[str, Scalar] = field(default_factory=dict)
    """What the fingerprint is made of, readable."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Dotted names and values of the recipe's settings that are not the defaults, as TOML takes them."""
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
            source=measurement.source,
            validation_batch_size=measurement.validation_batch_size,
            learning_rate=measurement.learning_rate,
            learning_rates=measurement.learning_rates,
            lr_refusal=measurement.lr_refusal,
            peak_memory_bytes=measurement.peak_memory_bytes,
            samples_per_second=measurement.samples_per_second,
            predicted_batch_size=measurement.predicted_batch_size,
            predicted_with=dict(measurement.predicted_with),
            predicted_peak=dict(measurement.predicted_peak),
            workload=dict(measurement.workload),
            settings=dict(measurement.settings),
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
        found = [profile for profile in self.of_case(case_id(axes)) if profile.axes == axes]
        if device is not None:
            return next((profile for profile in found if same_device(profile.device, device)), None)
        if len(found) > 1:
            devices = ", ".join(
                f"{profile.device.name} ({profile.device.memory_bytes:,} bytes)" for profile in found
            )
            raise LockError(
                f"{shown_path(self.path)}: {case_id(axes)} is locked on several devices: {devices}; say on which"
            )
        return found[0] if found else None

    def of_case(self, identifier: str) -> list[LockedProfile]:
        """Return the profiles of a case id, one for each device it was locked on."""
        return self._by_case.get(identifier, [])

    @cached_property
    def _by_case(self) -> dict[str, list[LockedProfile]]:
        by_case: dict[str, list[LockedProfile]] = {}
        for profile in self.profiles:
            by_case.setdefault(profile.case_id, []).append(profile)
        return by_case


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
        sorted(
            profiles, key=lambda profile: (profile.case_id, profile.device.name, profile.device.memory_bytes)
        )
    )


def read_lock(path: str | Path) -> Lock:
    """Read a lockfile; one that does not exist is an empty lock.

    Raises LockError, with file and line, for merge conflicts, an unknown version, text that is not TOML and
    a damaged block.
    """
    path = Path(path)
    text = read_text(path)
    return Lock(path) if text is None else parse_lock(text)


def parse_lock(text: LockText) -> Lock:
    """Make the lock that a text holds. Raises as `read_lock`."""
    tables = text.parse()
    _check_version(text, tables.pop("version", None))
    blocks = tables.pop("profile", [])
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        text.fail(
            "profile is not a list of tables; each profile begins with [[profile]]", text.line_of("profile")
        )
    profiles = [_read_block(Block(text, number, block)) for number, block in enumerate(blocks)]
    _refuse_duplicates(text, profiles)
    return Lock(text.path, sort(profiles), exists=True, extra=tables)


def _check_version(text: LockText, version: Any) -> None:
    line = text.line_of("version")
    shown = repr(version)[:80]
    if version is None:
        text.fail(f'no version: a lockfile begins with "version = {VERSION}"; restore it from git', 1)
    if isinstance(version, int) and version > VERSION:
        text.fail(f"version {shown} is newer than the {VERSION} that this harness reads: upgrade it", line)
    if version != VERSION or isinstance(version, bool):
        text.fail(f"version {shown} is not known; this harness reads {VERSION}", line)


def _refuse_duplicates(text: LockText, profiles: list[LockedProfile]) -> None:
    # Few of one case and one name can differ in their memory, and so in the device.
    seen: dict[tuple[str, str], list[int]] = {}
    for number, profile in enumerate(profiles):
        alike = seen.setdefault((profile.case_id, profile.device.name), [])
        for other in alike:
            if same_profile(profile, profiles[other]):
                first = text.line(other)
                text.fail(
                    f"{profile.case_id} on {profile.device.name} is locked twice"
                    f"{f', first on line {first}' if first else ''}: remove one of the blocks",
                    text.line(number),
                )
        alike.append(number)


def _read_block(block: Block) -> LockedProfile:
    axes = _read_axes(block)
    device_table = block.subtable("device", required=True)
    profile = LockedProfile(
        axes=axes,
        device=DeviceIdentity(device_table.string("name"), device_table.count("memory_bytes")),
        emulated=block.flag("emulated"),
        source=block.word("source", get_args(Source)) if "source" in block else "measured",  # type: ignore[arg-type] # likewise
        batch_size=block.count("batch_size"),
        max_batch_size=block.count("max_batch_size"),
        validation_batch_size=block.optional_count("validation_batch_size"),
        bounded_by=block.word("bounded_by", get_args(BoundedBy)),  # type: ignore[arg-type] # checked by word()
        learning_rate=block.optional_number("learning_rate"),
        learning_rates=block.numbers("learning_rates"),
        lr_refusal=block.optional_string("lr_refusal"),
        peak_memory_bytes=block.optional_count("peak_memory_bytes", 0),
        memory_limit_bytes=block.count("memory_limit_bytes", 0),
        samples_per_second=block.optional_number("samples_per_second"),
        predicted_batch_size=block.optional_count("predicted_batch_size"),
        predicted_with=block.subtable("predicted_with").strings(),
        predicted_peak=block.subtable("predicted_peak").counts(),
        fingerprint=block.string("fingerprint"),
        recipe=block.string("recipe"),
        workload=block.subtable("workload").scalars(),
        settings=block.subtable("settings").settings(),
        made_with=block.subtable("made_with").strings(),
        extra=block.rest() | ({"device": device_table.rest()} if device_table.rest() else {}),
    )
    if profile.batch_size > profile.max_batch_size:
        block.fail(
            "batch_size", f"{profile.batch_size}, is more than max_batch_size, {profile.max_batch_size}"
        )
    if profile.source == "predicted" and profile.predicted_batch_size != profile.max_batch_size:
        block.fail(
            "predicted_batch_size",
            f"has to be max_batch_size, {profile.max_batch_size}, where source is predicted",
        )
    return profile


def _read_axes(block: Block) -> dict[str, Scalar]:
    main = {
        "model": block.string("model"),
        "gpu": block.string("gpu"),
        "resolution": block.scalar("resolution"),
    }
    further = block.subtable("axes")
    for axis in main:
        if axis in further:
            further.fail(axis, "is not a further axis: it stands above the table")
    return main | further.scalars()
