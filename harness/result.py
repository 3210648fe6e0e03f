"""One case's outcome in one run: what its test came to, what was measured, how that compares with the lock."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from harness.bounds import Violation
from harness.lockfile import LockedProfile
from harness.measurement import DeviceIdentity, Measurement, Scalar

Status = Literal["passed", "failed", "skipped", "error"]
"""What a case's test came to; `error` is trouble with the machine, never a regression."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """What one run says about one case; travels as JSON from xdist's workers to the controller."""

    case_id: str
    axes: dict[str, Scalar]
    status: Status
    reason: str | None = None
    """Why it was skipped, failed or could not be run."""
    source: Literal["measured", "predicted"] = "measured"
    measurement: Measurement | None = None
    """None when the case was skipped, or ended before anything was found."""
    locked: LockedProfile | None = None
    """What it was compared with; None when the case was never locked."""
    violations: tuple[Violation, ...] = ()
    improvements: tuple[str, ...] = ()
    """Gains beyond the bounds, one line each."""
    warnings: tuple[str, ...] = ()
    """Of the comparison; the measurement has its own."""
    accepted: bool = False
    """Whether the lock may hold it: within bounds, or accepted by an explicit update."""
    update_command: str | None = None
    """The command that locks what was measured."""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        known = self.locked
        if known is not None:
            # Keys of a newer lock may hold TOML's dates, which JSON has not; nothing here reads them.
            known = replace(known, extra={})
        return asdict(replace(self, locked=known))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> CaseResult:
        """Rebuild what `to_json` gave, also after it went through JSON."""
        fields = dict(data)
        measurement, locked = fields["measurement"], fields["locked"]
        fields["measurement"] = None if measurement is None else Measurement.from_json(measurement)
        fields["locked"] = None if locked is None else _locked(locked)
        fields["violations"] = tuple(Violation(**violation) for violation in fields["violations"])
        for name in ("improvements", "warnings"):
            fields[name] = tuple(fields[name])
        return cls(**fields)

    @property
    def all_warnings(self) -> tuple[str, ...]:
        """The measurement's warnings, then those of the comparison."""
        own = self.measurement.warnings if self.measurement else ()
        return (*own, *self.warnings)


def _locked(data: dict[str, Any]) -> LockedProfile:
    rates = tuple(data["learning_rates"])
    return LockedProfile(**(data | {"device": DeviceIdentity(**data["device"]), "learning_rates": rates}))
