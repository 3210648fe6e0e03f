"""Holds the result of one case in one run: status, measurement, comparison with the lock."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from harness.bounds.verdict import Violation
from harness.lockfile.profiles import LockedProfile
from harness.measurement import Measurement, Source

if TYPE_CHECKING:
    from harness.case_names import Scalar

Status = Literal["passed", "failed", "skipped", "error"]
"""How a case's test ended. `error` is trouble with the machine, never a regression."""


_SEVERITY = ("skipped", "passed", "failed", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """The result of one case in one run. xdist's workers send it to the controller as JSON."""

    case_id: str
    axes: dict[str, Scalar]
    status: Status
    reason: str | None = None
    """Why the case was skipped, failed or could not be run."""
    source: Source = "measured"
    measurement: Measurement | None = None
    """None when the case was skipped, or ended before anything was found."""
    locked: LockedProfile | None = None
    """The profile that it was compared with; None when the case was never locked."""
    violations: tuple[Violation, ...] = ()
    improvements: tuple[str, ...] = ()
    """Gains beyond the bounds, one line each."""
    warnings: tuple[str, ...] = ()
    """The warnings of the comparison; the measurement has its own."""
    accepted: bool = False
    """Whether it may be locked: it is within bounds, or an explicit update accepts it."""
    update_command: str | None = None
    """The command that locks what was measured."""
    verb_flags: str = ""
    """The flags with which `gpu-profile` reads the matrix and the lockfile of this run."""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        known = self.locked
        if known is not None:
            # Unknown keys may hold TOML's dates, which JSON lacks. Nothing reads them here.
            known = replace(known, extra={})
        return asdict(replace(self, locked=known))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> CaseResult:
        """Rebuild a result from `to_json`, also after a round trip through JSON."""
        fields = dict(data)
        measurement, locked = fields["measurement"], fields["locked"]
        fields["measurement"] = None if measurement is None else Measurement.from_json(measurement)
        fields["locked"] = None if locked is None else LockedProfile.from_json(locked)
        fields["violations"] = tuple(Violation(**violation) for violation in fields["violations"])
        for name in ("improvements", "warnings"):
            fields[name] = tuple(fields[name])
        return cls(**fields)

    @property
    def all_warnings(self) -> tuple[str, ...]:
        """The measurement's warnings, then those of the comparison."""
        own = self.measurement.warnings if self.measurement else ()
        return (*own, *self.warnings)


def worst(before: CaseResult | None, now: CaseResult) -> CaseResult:
    """Return the result of a case of which several tests have told; of equals the latest."""
    if before is None or _SEVERITY.index(now.status) >= _SEVERITY.index(before.status):
        return now
    return before
