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

    def hold(self) -> AbstractContextManager[None]:
        """Keep other cases off the device while this one runs."""


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

    def lift(self) -> None:
        """Stop enforcing, so that an error can be told in full."""
