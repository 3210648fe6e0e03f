"""Reads a lockfile into locked profiles.

A block's unknown keys are kept, so that a lock from a newer version, in the same format, is written
back without loss.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from weakref import WeakValueDictionary

from harness.case_names import MAIN_AXES, MAX_ID_LENGTH, Scalar, case_id
from harness.lockfile.block_reader import Block
from harness.lockfile.buckets import read_buckets
from harness.lockfile.contradictions import refuse_contradictions
from harness.lockfile.index import Index
from harness.lockfile.toml_text import LockError, LockText, read_text
from harness.measurement import BoundedBy, DeviceIdentity, Profile, Source
from harness.wording import shown_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from harness.global_batch.accumulation import Accumulation
    from harness.lockfile.rates import OneCycle
    from harness.measurement import Measurement

VERSION = 1
"""The version of the format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedProfile(Profile):
    """The committed values of one case on one device."""

    extra: dict[str, Any] = field(default_factory=dict)
    """The block's keys that this version does not know; they are written back unchanged."""

    @classmethod
    def from_measurement(cls, measurement: Measurement) -> LockedProfile:
        """Return the profile that locks a measurement in which at least one batch size trained."""
        assert measurement.max_batch_size > 0, "a case in which nothing trains has nothing to lock"
        return cls(**measurement.profile_values())

    @property
    def precision(self) -> Any:
        """The precision that the case was measured in, for `Trainer(precision=tuned.precision)`.

        None where the matrix leaves it to Lightning.
        """
        known = self.settings.get("trainer.precision")
        return self.axes.get("precision") if known is None else known

    def one_cycle(self, max_factor: float = 3, optimizer: Any = None) -> OneCycle:
        """Return `max_lr` and `cycle_momentum` for torch's `OneCycleLR`.

        Hand them over as they are, with the length of the training beside them:
        `OneCycleLR(optimizer, total_steps=..., **tuned.one_cycle(optimizer=optimizer))`.

        `max_lr`, the peak, is `max_factor` times the locked learning rate, and at most the upper
        end of `learning_rate_range`, above which the LR range test saw training get worse. Both
        are for a constant rate over the first `lr_horizon` steps; a peak behind a warm-up may bear
        more, which nobody has measured here. `cycle_momentum` is False, because the rate was
        measured at the optimizer's own momentum, and torch's default would replace it.

        optimizer: what `configure_optimizers` makes after `harness.apply`. `max_lr` is then a list
        with the rates of its groups, raised alike. Without it `max_lr` is one rate for all groups.

        Raises HarnessError when the profile has no learning rate, with the reason, and for a
        factor below 1. Warns when no range is locked, as nothing then limits the peak.
        """
        from harness.lockfile.rates import one_cycle  # noqa: PLC0415 - only a schedule needs it

        return one_cycle(self, max_factor, optimizer)

    @property
    def num_ranks(self) -> int:
        """The GPUs of the case; `batch_size` is for each of their ranks."""
        return self.device.count

    def accumulation(
        self, global_batch_size: int | None = None, num_ranks: int | None = None
    ) -> Accumulation:
        """Return `batch_size` and `accumulate_grad_batches` that make a global batch exactly.

        The micro-batch is the largest that divides the global batch, on each of `num_ranks`
        processes, and is not above the locked batch, which is known to fit. Without
        `global_batch_size` it is that of the lock, and so is `num_ranks`. The locked learning rate
        is for the global batch of the lock, or else for the locked batch: scale it for another one.

        Raises HarnessError, which names the nearest global batches that can be made, when this one
        cannot be. Warns where only micro-batches below half of the locked batch make it.
        """
        from harness.global_batch.accumulation import accumulation  # noqa: PLC0415 - few need it

        ranks = self.num_ranks if num_ranks is None else num_ranks
        return accumulation(self, global_batch_size, ranks)

    def training_arguments(
        self, num_ranks: int | None = None, *, learning_rate: bool = True
    ) -> dict[str, Any]:
        """Return keywords of transformers' `TrainingArguments`: batch sizes, loader, learning rate.

        Where a global batch is locked, they make it exactly on `num_ranks` processes, by default
        those of the lock. Without one, each process takes steps of the locked batch. A profile of a
        transformers.Trainer leaves out the accumulation. `learning_rate=False` leaves the rate out.

        Raises HarnessError, with the reason, when the profile has no learning rate, and as
        `accumulation` does.
        """
        from harness.lockfile.rates import locked_rate  # noqa: PLC0415 - as above

        size, accumulated = self.batch_size, 1
        if self.global_batch_size is not None:
            size, accumulated = self.accumulation(num_ranks=num_ranks)
        arguments: dict[str, Any] = {"per_device_train_batch_size": size}
        # A transformers.Trainer was profiled with an accumulation of its own, which it keeps.
        if self.global_batch_size is not None or "trainer" not in self.workload:
            arguments["gradient_accumulation_steps"] = accumulated
        if self.validation_batch_size is not None:
            arguments["per_device_eval_batch_size"] = self.validation_batch_size
        if self.num_workers is not None:
            arguments["dataloader_num_workers"] = self.num_workers
        if learning_rate:
            otherwise = "Leave it out with training_arguments(learning_rate=False)"
            arguments["learning_rate"] = locked_rate(self, otherwise)
        return arguments


@dataclass(frozen=True)
class Lock:
    """The profiles of one lockfile, sorted by case and device."""

    path: Path
    profiles: tuple[LockedProfile, ...] = ()
    exists: bool = False
    """Whether the file exists."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Top-level keys other than `version` and `profile`; they are written back unchanged."""

    def __iter__(self) -> Iterator[LockedProfile]:
        return iter(self.profiles)

    def __len__(self) -> int:
        return len(self.profiles)

    def find(
        self, axes: Mapping[str, Scalar], device: DeviceIdentity | None = None
    ) -> LockedProfile | None:
        """Return the profile of a case on a device, or None.

        Without a device, return the case's only profile. Raises LockError when the case is locked
        on several devices.
        """
        if device is not None:
            return next(iter(self._index.matching(axes, device)), None)
        found = [profile for profile in self.of_case(case_id(axes)) if profile.axes == axes]
        if len(found) > 1:
            devices = ", ".join(
                f"{profile.device.name} ({profile.device.memory_bytes:,} bytes)"
                for profile in found
            )
            raise LockError(
                f"{shown_path(self.path)}: {case_id(axes)} is locked on several devices: "
                f"{devices}; name one of them"
            )
        return found[0] if found else None

    def of_case(self, identifier: str) -> list[LockedProfile]:
        """Return the profiles of a case id, one for each device that it is locked on."""
        return self._by_case.get(identifier, [])

    def partner(self, profile: LockedProfile) -> LockedProfile | None:
        """Return the profile of the same case and device, or None."""
        return next(iter(self._index.matching(profile.axes, profile.device)), None)

    @cached_property
    def _index(self) -> Index[LockedProfile]:
        return Index(self.profiles)

    @cached_property
    def _by_case(self) -> dict[str, list[LockedProfile]]:
        by_case: dict[str, list[LockedProfile]] = {}
        for profile in self.profiles:
            by_case.setdefault(profile.case_id, []).append(profile)
        return by_case


_IN_USE: WeakValueDictionary[bytes, Lock] = WeakValueDictionary()
"""Locks by the digest of their text: a run reads its lock again, and that of the newest commit."""


def sort(profiles: Iterable[LockedProfile]) -> tuple[LockedProfile, ...]:
    """Return profiles in the order of the file: by case id, then by device."""
    return tuple(
        sorted(
            profiles,
            key=lambda profile: (profile.case_id, profile.device.name, profile.device.memory_bytes),
        )
    )


def read_lock(path: str | Path) -> Lock:
    """Read a lockfile; one that does not exist is an empty lock.

    Raises LockError, with file and line, for a merge conflict, an unknown version, text that is not
    TOML, or a damaged block.
    """
    path = Path(path)
    text = read_text(path)
    return Lock(path) if text is None else parse_lock(text)


def parse_lock(text: LockText) -> Lock:
    """Return the lock that a text holds. Raises LockError as `read_lock` does."""
    if (known := lock_in_use(text)) is not None:
        return known
    tables = text.parse()
    _check_version(text, tables.pop("version", None))
    blocks = tables.pop("profile", [])
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        text.fail(
            "profile is not a list of tables; each profile begins with [[profile]]",
            text.line_of("profile"),
        )
    profiles = [read_profile(Block(text, number, block)) for number, block in enumerate(blocks)]
    _refuse_duplicates(text, profiles)
    lock = Lock(text.path, sort(profiles), exists=True, extra=tables)
    _IN_USE[text.digest] = lock
    return lock


def lock_in_use(text: LockText) -> Lock | None:
    """Return the lock of the same text that is in use already, or None."""
    known = _IN_USE.get(text.digest)
    if known is None or known.path == text.path:
        return known
    return replace(known, path=text.path)


def _check_version(text: LockText, version: Any) -> None:
    if version == VERSION and not isinstance(version, bool):
        return
    line = text.line_of("version")
    shown = repr(version)[:80]
    if version is None:
        text.fail(
            f'no version: a lockfile begins with "version = {VERSION}"; restore it from git', 1
        )
    if isinstance(version, int) and version > VERSION:
        text.fail(
            f"version {shown} is newer than version {VERSION}, which this gpu-profile reads: "
            "upgrade gpu-profile",
            line,
        )
    text.fail(f"version {shown} is not known; this gpu-profile reads {VERSION}", line)


def _refuse_duplicates(text: LockText, profiles: list[LockedProfile]) -> None:
    seen: Index[LockedProfile] = Index()
    for number, profile in enumerate(profiles):
        for other in seen.matching(profile.axes, profile.device):
            first = text.line(next(at for at, one in enumerate(profiles) if one is other))
            text.fail(
                f"{profile.case_id} on {profile.device.name} is locked twice"
                f"{f', first on line {first}' if first else ''}: remove one of the blocks",
                text.line(number),
            )
        seen.add(profile)


def _read_count(block: Block, key: str) -> int:
    # Memory may be 0, and so may workers; a batch size may not.
    return block.count(key, 0 if key.endswith("_bytes") or key == "num_workers" else 1)


_READERS: dict[str, Callable[[Block, str], Any]] = {
    "bool": Block.flag,
    "int": _read_count,
    "int | None": _read_count,
    "float | None": Block.number,
    "str": Block.string,
    "str | None": Block.string,
    "tuple[float, ...]": Block.numbers,
    "tuple[int, ...]": Block.sizes,
    "Source": lambda block, key: block.word(key, get_args(Source)),
    "BoundedBy": lambda block, key: block.word(key, get_args(BoundedBy)),
    "tuple[Bucket, ...]": read_buckets,
    "dict[str, Scalar]": lambda block, key: block.subtable(key).scalars(),
    "dict[str, Any]": lambda block, key: block.subtable(key).settings(),
    "dict[str, str]": lambda block, key: block.subtable(key).strings(),
    "dict[str, int]": lambda block, key: block.subtable(key).counts(),
}
"""The reader of a field of `Profile`, by its annotation as text; no annotation is evaluated."""

_TOGETHER = ("axes", "device")
_FIELDS = tuple(
    (one.name, _READERS[str(one.type)], one.default is MISSING and one.default_factory is MISSING)
    for one in fields(Profile)
    if one.name not in _TOGETHER
)
"""Name, reader and whether it is required, for each field except those of `_TOGETHER`."""


def read_profile(block: Block) -> LockedProfile:
    """Return the profile that a parsed block holds. Raises LockError as `read_lock` does."""
    axes = _read_axes(block)
    device = block.subtable("device", required=True)
    values = {
        name: read(block, name)
        for name, read, is_required in _FIELDS
        if is_required or name in block
    }
    count = device.count("count") if "count" in device else 1
    identity = DeviceIdentity(device.name("name"), device.count("memory_bytes"), count)
    rest = block.rest() | ({"device": device.rest()} if device.rest() else {})
    profile = LockedProfile(axes=axes, device=identity, extra=rest, **values)
    if profile.batch_size > profile.max_batch_size:
        block.fail(
            "batch_size",
            f"{profile.batch_size} is more than max_batch_size, {profile.max_batch_size}",
        )
    if profile.source == "predicted" and profile.predicted_batch_size != profile.max_batch_size:
        block.fail(
            "predicted_batch_size",
            f"must equal max_batch_size, {profile.max_batch_size}, if source is predicted",
        )
    refuse_contradictions(block, profile)
    return profile


def _read_axes(block: Block) -> dict[str, Scalar]:
    # Model and GPU are names in the matrix, so they are texts.
    main = {axis: block.label(axis, text=axis != "resolution") for axis in MAIN_AXES}
    further = block.subtable("axes")
    for axis in main:
        if axis in further:
            further.fail(axis, "is not a further axis: it stands above the table")
    axes = main | further.labels()
    if len(case_id(axes)) > MAX_ID_LENGTH:
        block.fail("model", f"and the other axes make an id of over {MAX_ID_LENGTH} characters")
    return axes
