"""Declares the interface of a device for pytest's process.

The probes on it enforce a bound of `harness.memory_bounds`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from harness.measurement import DeviceIdentity
    from harness.protocol.case import BoundSpec


class NoSuchDeviceError(HarnessError):
    """No device of this machine matches the label. Its cases are skipped, for this reason."""


class Device(Protocol):
    """The place where a case runs, as pytest's process sees it."""

    @property
    def identity(self) -> DeviceIdentity:
        """The part that a locked profile is matched on."""

    @property
    def total_bytes(self) -> int:
        """All of its memory, whatever the budget: NVML's total of a GPU."""

    @property
    def emulated(self) -> bool:
        """Whether the memory is an artificial budget."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment variables of the case's zygote; they must be set before torch is imported."""

    @property
    def bound(self) -> BoundSpec:
        """The description from which a probe makes its memory bound."""

    @property
    def memory_settings(self) -> dict[str, Any]:
        """Settings outside the matrix that change what fits, by name; the recipe holds them."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions for the lockfile's provenance: the driver's."""

    @property
    def stands_for(self) -> int | None:
        """The ranks that a process stands for, on simulated GPUs; 0: its training has no ranks.

        None: each rank has a process of its own.
        """

    @property
    def can_snapshot(self) -> bool:
        """Whether a probe that runs out of memory can write a snapshot of its allocator."""

    def hold(self) -> AbstractContextManager[None]:
        """Keep other cases off the device while this one runs.

        Raises MachineError when other processes leave too little memory.
        """

    def settle(self) -> None:
        """Wait after a probe until the device is as it was before.

        Raises MachineError when it stays different, or when the measurement cannot be trusted.
        """

    def notes(self) -> tuple[str, ...]:
        """Return notes about the device for readers of the measurement."""
