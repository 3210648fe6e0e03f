"""Declares the interface of a probe's memory bound, for every device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from harness.protocol.case import RankPlace
    from harness.protocol.messages import MemoryFacts


class MemoryBound(Protocol):
    """The limit on a probe's memory, as the probe itself enforces and reads it."""

    @property
    def trainer_arguments(self) -> Mapping[str, Any]:
        """The Trainer's `accelerator` and `devices`."""

    @property
    def place(self) -> RankPlace | None:
        """The place of this process among ranks; None where it is the only one."""

    @property
    def limit_bytes(self) -> int:
        """The most bytes that the case may hold."""

    def start(self) -> None:
        """Prepare, before the Trainer exists."""

    def engage(self, module: Any) -> None:
        """Enforce the limit from here on; `module` is on its device and untrained."""

    def engage_before_wrapping(self, trainer: Any) -> None:
        """Enforce the limit before the Trainer's strategy wraps the module, if that takes memory.

        Called once the ranks have met.
        """

    def uncounted(self) -> AbstractContextManager[None]:
        """Return a block in which much memory that is made, and kept, is no part of the case's."""

    def rescale(self, share: float) -> None:
        """Enforce `share` times the limit from here on."""

    def peak_bytes(self) -> int:
        """Return the most bytes that the case has held."""

    def excess(self) -> str | None:
        """Return in words how the case took more than its limit; None where it did not."""

    def held_bytes(self) -> int:
        """Return the bytes that the case's own blocks have now, without the holes between them."""

    def begin_validation(self) -> None:
        """Count validation's own peak from here on, where it can be separated from training's."""

    def validation_peak_bytes(self) -> int:
        """Return the most bytes that the case has held since `begin_validation`."""

    def warmed_up(self) -> None:
        """Note that the first effective step has ended."""

    def facts(self) -> MemoryFacts:
        """Return figures beyond the peak, by the names of a `Probe`'s fields."""

    def record(self, *, stacks: bool) -> None:
        """Keep a history, with or without stacks. Only called where the device `can_snapshot`."""

    def write_history(self, path: str) -> None:
        """Write the sizes of all blocks so far as JSON to `path`, unless some are missing."""

    def dump(self, path: str) -> None:
        """Write a snapshot of the allocator to `path`."""

    def crowded_out(self, free_bytes: int | None, reserved_bytes: int) -> str | None:
        """Return in words that others took memory of the limit; None where nothing shows it.

        free_bytes, reserved_bytes: the device's memory when the probe ran out, as torch read it.
        """

    def lift(self) -> None:
        """Stop enforcing the limit, so that an error can be reported in full."""
