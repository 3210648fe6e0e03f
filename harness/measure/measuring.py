"""Finds the values of a run's cases by measuring them on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.bounds.measured import judge
from harness.devices.cuda import CudaDevice
from harness.devices.finding import find_device
from harness.file_locks import WAIT_SECONDS
from harness.measure.case import measure_case
from harness.measure.sharing import claim_of

if TYPE_CHECKING:
    from harness.bounds.verdict import Verdict
    from harness.devices.device import Device
    from harness.lockfile.profiles import Lock, LockedProfile
    from harness.matrix.case import Case
    from harness.measurement import DeviceIdentity, Measurement, Source
    from harness.probes.open_cases import Surroundings


@dataclass(frozen=True)
class MeasuredCase:
    """A case, and the device of this machine that it is measured on."""

    case: Case
    device: Device

    @property
    def identity(self) -> DeviceIdentity:
        """The device that the case's profile must be of."""
        return self.device.identity

    def run(self, locked: LockedProfile | None, surroundings: Surroundings) -> Measurement:
        """Measure the case; raises the errors of `measure_case`."""
        return measure_case(self.case, self.device, locked, surroundings)


class Measuring:
    """Trains cases on the devices of this machine.

    Args:
        wait_seconds: how long a case waits for GPU memory that other processes hold.
        lock_seconds: how long a case waits for a GPU on which another run measures.
        share: whether small cases may share a GPU.

    """

    source: Source = "measured"
    replaces_files = False
    flags = ""
    """The flags with which a pytest command does the same; it need not share."""

    def __init__(
        self,
        wait_seconds: float = 0.0,
        lock_seconds: float = WAIT_SECONDS,
        *,
        share: bool = False,
    ) -> None:
        self._waits = (wait_seconds, lock_seconds)
        self._share = share

    def find(self, case: Case, lock: Lock) -> MeasuredCase:
        """Return the case with its device; raises NoSuchDeviceError when this machine lacks it."""
        fraction = case.search.target_memory_fraction
        device = find_device(case.device, fraction, *self._waits, count=case.num_ranks)
        if self._share and isinstance(device, CudaDevice):
            device.claim_bytes = claim_of(case, device, lock.find(case.axes, device.identity))
        return MeasuredCase(case, device)

    def judge(self, case: Case, found: Measurement, locked: LockedProfile | None) -> Verdict:
        """Compare a measurement with its locked profile, by the case's bounds."""
        return judge(found, locked, case.bounds)

    def close(self) -> None:
        """Do nothing: no case leaves a process behind."""
