"""Provides experiments with the GPU, with folders, and with what the simulation says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Protocol

from cuda_experiments.processes import SYS_PATH, ForkServer, run_child
from harness.devices.finding import find_device
from harness.matrix.settings import GpuSettings
from harness.probes.runner import ProbeRunner

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.devices.device import Device
    from harness.protocol.case import WorkloadSpec

FRACTION = 0.9
"""The share of the budget that training may reserve: gpu-profile's default."""
# Of one probe. On an idle machine they take 2 to 5 s, and one that hangs must not take the whole
# part's time.
_PROBE_SECONDS = 60.0


class Note(Protocol):
    """Puts an experiment's facts on the disk, and knows those of an earlier call."""

    def __call__(self, name: str, fact: Any) -> None:
        """Write a fact: its name, and a value that JSON knows. A name's last value stays."""

    def __contains__(self, name: str) -> bool:
        """Return whether a fact is there: an experiment that goes on does not look for it again."""


@dataclass(frozen=True)
class Setting:
    """The GPU's budget, the folder and the extent of experiments."""

    budget_bytes: int
    """The memory that searches emulate."""
    directory: Path
    """The folder for logs."""
    simulated: bool
    """Whether the GPU is simulated."""
    cut_down: bool = False
    """Whether each experiment does only the least of its parts, to try the script."""
    recording: bool = False
    """Whether this is the simulation that a later session is compared with."""
    expected: Mapping[str, Any] = field(default_factory=dict)
    """The simulation's values, as `simulation.expected_of` returns them; {}: none."""

    def some(self, parts: Mapping[str, Any], *least: str) -> dict[str, Any]:
        """Return all parts of an experiment, or only those named where it is cut down."""
        return {name: part for name, part in parts.items() if not self.cut_down or name in least}

    def device(self) -> Device:
        """Return the first GPU, with the budget as its memory."""
        return find_device(GpuSettings(name="*", budget=self.budget_bytes), FRACTION)

    def runner(
        self, name: str, workload: WorkloadSpec, trainer: dict[str, Any] | None = None
    ) -> ProbeRunner:
        """Return a runner with a new zygote, which starts when the runner is entered."""
        return ProbeRunner(
            workload,
            self.device(),
            trainer or {},
            self.directory / name,
            sys_path=SYS_PATH,
            timeout=_PROBE_SECONDS,
        )

    def child(
        self,
        name: str,
        timeout: float,
        environment: Mapping[str, str] | None = None,
        **request: Any,
    ) -> dict[str, Any]:
        """Run a function of `children.py` in a Python of its own; return exit code and answer."""
        return run_child(name, self.environment(environment), timeout, **request)

    def server(self, name: str, *modules: str) -> ForkServer:
        """Return a process that has imported torch and modules, and forks for each request."""
        return ForkServer(self.environment(), self.directory / name, modules)

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the variables that the harness gives a process on the GPU, and some more."""
        return {**self.device().environment, **(more or {})}


def told(error: Exception) -> str:
    """Return an error in one line, for an experiment whose other parts go on."""
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0]


def version_of(package: str) -> str | None:
    """Return the version of a package, or None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


Experiment = Callable[[Setting, Note], None]
