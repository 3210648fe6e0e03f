"""Finds the values of a run's cases by predicting them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.bounds.predicted import judge_prediction
from harness.predict.case import find_gpu, identity_of, predict_case
from harness.predict.simulation import Simulation
from harness.simulated.library import library

if TYPE_CHECKING:
    from harness.bounds.verdict import Verdict
    from harness.lockfile.profiles import Lock, LockedProfile
    from harness.matrix.case import Case
    from harness.measurement import DeviceIdentity, Measurement, Source
    from harness.predict.gpus import GpuFacts
    from harness.probes.open_cases import Surroundings


@dataclass(frozen=True)
class PredictedCase:
    """A case, and the GPU that it is predicted for."""

    case: Case
    gpu: GpuFacts
    simulation: Simulation

    @property
    def identity(self) -> DeviceIdentity:
        """The device that the case's profile must be of."""
        return identity_of(self.case, self.gpu)

    @property
    def device(self) -> None:
        """None: the GPU need not be here."""

    def run(self, locked: LockedProfile | None, surroundings: Surroundings) -> Measurement:
        """Predict the case. Raises as `predict_case`."""
        return predict_case(self.case, self.gpu, locked, surroundings, self.simulation)


class Predicting:
    """Finds the largest batch of GPUs that need not be here; nothing is trained.

    Raises HarnessError where a simulated GPU cannot be had: it names what is missing.
    """

    source: Source = "predicted"
    replaces_files = False
    flags = " --gpu-profile-predict"
    """The flags with which a pytest command does the same."""

    def __init__(self) -> None:
        library()  # compiled now, if it never was: each case needs it
        self._simulation = Simulation()

    def find(self, case: Case, lock: Lock) -> PredictedCase:
        """Return the case with its GPU; raises NoSuchDeviceError for the CPU and unknown GPUs."""
        return PredictedCase(case, find_gpu(case, lock), self._simulation)

    def judge(self, case: Case, found: Measurement, locked: LockedProfile | None) -> Verdict:
        """Compare a prediction with its locked profile; the case's bounds are for measurements."""
        del case
        return judge_prediction(found, locked)

    def close(self) -> None:
        """End the zygote that the last case has left for the next one."""
        self._simulation.close()
