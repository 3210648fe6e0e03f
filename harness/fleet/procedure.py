"""Finds the values of a run's cases on a cluster; the run's session sees no difference."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.bounds.measured import judge
from harness.device_identity import DeviceIdentity
from harness.errors import HarnessError
from harness.fleet.nodes import device_of
from harness.fleet.packing import replace_files

if TYPE_CHECKING:
    from harness.bounds.verdict import Verdict
    from harness.fleet.executor import Node
    from harness.fleet.fleet import Fleet
    from harness.lockfile.profiles import Lock, LockedProfile
    from harness.matrix.case import Case
    from harness.measurement import Measurement, Source
    from harness.probes.open_cases import Surroundings


class FleetCase:
    """A case on a cluster."""

    device = None
    """None: no device of this machine."""

    def __init__(self, case: Case, fleet: Fleet, nodes: list[Node]) -> None:
        self._case = case
        self._fleet = fleet
        gpu = case.device
        self._device = device_of(case, nodes) or DeviceIdentity(
            gpu.name or "cpu", gpu.budget or gpu.memory or 0, case.num_ranks
        )

    @property
    def identity(self) -> DeviceIdentity:
        """The device that the case was measured on; until then the one that it should be."""
        outcome = self._fleet.outcome(self._case)
        if outcome is None or isinstance(outcome.found, HarnessError):
            return self._device
        return outcome.found.device

    def run(self, locked: LockedProfile | None, surroundings: Surroundings) -> Measurement:
        """Wait for the case's end; put its files in place of those in the folder of results.

        Raises the errors of the node, MachineError where nodes were lost, and OSError.
        """
        del locked  # each node finds it in the same lock
        self._fleet.wait_for(self._case)
        self._device = self.identity
        outcome = self._fleet.take(self._case)
        note = replace_files(surroundings.directory / self._case.id, outcome.files)
        if isinstance(outcome.found, HarnessError):
            raise outcome.found
        if note is None:
            return outcome.found
        return replace(outcome.found, warnings=(*outcome.found.warnings, note))


class Elsewhere:
    """Trains cases on the nodes of a cluster."""

    source: Source = "measured"
    replaces_files = True

    def __init__(self, fleet: Fleet, flags: str, waits: tuple[float, float]) -> None:
        self.fleet = fleet
        self.waits = waits
        """Seconds that a node waits for memory, and for other runs."""
        self.flags = flags
        """The flags with which a pytest command does the same."""

    def find(self, case: Case, lock: Lock) -> FleetCase:
        """Return the case; raises NoSuchDeviceError where no node can run it."""
        del lock
        return FleetCase(case, self.fleet, self.fleet.nodes_for(case))

    def judge(self, case: Case, found: Measurement, locked: LockedProfile | None) -> Verdict:
        """Compare a measurement with its locked profile, by the case's bounds."""
        return judge(found, locked, case.bounds)

    def close(self) -> None:
        """Leave the cluster."""
        self.fleet.close()
