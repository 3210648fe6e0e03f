"""A plugin of pytest that lets xdist's workers find simulated values, to measure their controller.

No fleet is asked: each worker finds the values of its cases by itself, as on GPUs of its machine.
"""

from __future__ import annotations

import json
import os
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.bounds.measured import judge
from harness.measurement import Measurement
from simulated_fleet.plugin import OUT
from simulated_fleet.values import Values, identity_of

if TYPE_CHECKING:
    from harness.bounds.verdict import Verdict
    from harness.lockfile.profiles import Lock, LockedProfile
    from harness.matrix.case import Case
    from harness.measurement import DeviceIdentity, Source
    from harness.probes.open_cases import Surroundings


@dataclass(frozen=True)
class _Found:
    case: Case
    values: Values
    device: None = None

    @property
    def identity(self) -> DeviceIdentity:
        return identity_of(self.case.gpu)

    def run(self, locked: LockedProfile | None, surroundings: Surroundings) -> Measurement:
        del locked, surroundings
        return Measurement.from_json(self.values.found(self.case))


class _Simulating:
    source: Source = "measured"
    flags = ""

    def __init__(self) -> None:
        self._values = Values()

    def find(self, case: Case, lock: Lock) -> _Found:
        del lock
        return _Found(case, self._values)

    def judge(self, case: Case, found: Measurement, locked: LockedProfile | None) -> Verdict:
        return judge(found, locked, case.bounds)

    def close(self) -> None:
        """Do nothing: no process was started."""


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Find simulated values, on workers and on the controller."""
    run: Any = config.pluginmanager.get_plugin("gpu_profile_run")
    run.session.procedure = _Simulating()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Write what the controller has needed."""
    if hasattr(config, "workerinput"):
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = {
        "controller_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_mib": round(used.ru_maxrss / 1024),
    }
    Path(os.environ[OUT]).write_text(json.dumps(found), encoding="utf-8")
