"""What a device is: a parent side, which knows no torch, and the memory bound that its probes live under."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from harness.measurement import DeviceIdentity


class NoSuchDeviceError(HarnessError):
    """No device of this machine fits the label: its cases are skipped, with this message as the reason."""


class Device(Protocol):
    """Where a case runs, as the pytest process sees it."""

    @property
    def identity(self) -> DeviceIdentity:
        """What a locked profile is matched on."""

    @property
    def emulated(self) -> bool:
        """Whether the memory is an artificial budget."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment variables of the case's zygote; they must be set before torch is imported."""

    @property
    def bound(self) -> dict[str, Any]:
        """What `make_bound` needs in the probe, as JSON."""

    @property
    def memory_settings(self) -> dict[str, Any]:
        """Settings of this environment, beyond the matrix's, that change what fits: part of the recipe."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Provenance: driver and the like."""

    @property
    def can_snapshot(self) -> bool:
        """Whether a probe that runs out of memory can leave a snapshot of its allocator."""

    def hold(self) -> AbstractContextManager[None]:
        """Keep other cases off the device while this one runs.

        Raises MachineError when others leave too little of it.
        """

    def settle(self) -> None:
        """Wait, after a probe, until the device is as it was before.

        Raises MachineError when it is not, and when what was measured cannot be trusted.
        """

    def notes(self) -> tuple[str, ...]:
        """Return what the reader of a measurement should know of the device."""


class MemoryBound(Protocol):
    """The limit on a probe's memory, as the probe itself enforces and reads it."""

    @property
    def trainer_arguments(self) -> Mapping[str, Any]:
        """The Trainer's `accelerator` and `devices`."""

    @property
    def limit_bytes(self) -> int:
        """The most that the case may hold."""

    def start(self) -> None:
        """Prepare, before the Trainer exists."""

    def engage(self, module: Any) -> None:
        """Enforce the limit from here on; `module` is in place, nothing has been trained."""

    def rescale(self, share: float) -> None:
        """Enforce `share` times the limit from here on."""

    def peak_bytes(self) -> int:
        """Return the most that the case held so far."""

    def begin_validation(self) -> None:
        """Count validation's own peak from here on, as far as it can be told from training's."""

    def validation_peak_bytes(self) -> int:
        """Return the most that the case held since `begin_validation`."""

    def warmed_up(self) -> None:
        """Take note of the end of the first effective step."""

    def facts(self) -> dict[str, int]:
        """Return what else is known of the memory, by the names of a `Probe`'s fields."""

    def record(self) -> None:
        """Keep a history for `dump`; asked for only where the device `can_snapshot`."""

    def dump(self, path: str) -> None:
        """Write a snapshot of the allocator."""

    def lift(self) -> None:
        """Stop enforcing, so that an error can be told in full."""
