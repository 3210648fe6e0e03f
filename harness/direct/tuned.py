"""The result of `harness.tune`: a profile as `load_profile` returns it, and how it was found."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from harness.case_names import AXIS, LABEL, LABEL_FORM, label
from harness.errors import HarnessError
from harness.lockfile.profiles import LockedProfile, read_lock
from harness.lockfile.rates import why_no_rate
from harness.lockfile.write import update_lock
from harness.measurement import Profile
from harness.probes.outcomes import describe_outcome
from harness.report import words
from harness.units import format_bytes
from harness.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.case_names import Scalar
    from harness.measurement import Measurement, Probe

_ALIGNED = ("right", "left", "right", "right")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Tuned(LockedProfile):
    """What one training was measured at: batch size, learning rate, and all that was tried.

    It is a profile, so `harness.apply` and all that takes a locked profile take it, too. Its text
    is a table, and a notebook shows it as one.
    """

    measurement: Measurement
    """All that was found, probes and curves among it."""

    @classmethod
    def of(cls, measurement: Measurement) -> Tuned:
        """Return the result of a measurement in which at least one batch size trained."""
        return cls(measurement=measurement, **measurement.profile_values())

    @property
    def probes(self) -> tuple[Probe, ...]:
        """All batch sizes that were tried, in this order."""
        return self.measurement.probes

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before the values are used."""
        return self.measurement.warnings

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.measurement.seconds

    @property
    def table(self) -> str:
        """The batch sizes that were tried, as a table: a line for each probe, by size."""
        return probe_table(self.probes)

    def lock(
        self,
        path: str | Path,
        *,
        model: str | None = None,
        gpu: str | None = None,
        resolution: Scalar | None = None,
        **axes: Scalar,
    ) -> LockedProfile:
        """Write the values into a lockfile, beside all others in it, and return what is locked.

        model, gpu, resolution, and further axes: the labels to lock it under, as a matrix has them.
        By default model and GPU are named as here, and the resolution is 1.

        Raises HarnessError for what is no label, and LockError when the file cannot be written.
        """
        given = {"model": model, "gpu": gpu, "resolution": resolution, **axes}
        named = {name: value for name, value in given.items() if value is not None}
        for name, value in named.items():
            if not re.fullmatch(AXIS, name) or not re.fullmatch(LABEL, label(value)):
                raise HarnessError(f"{name}={value!r:.60}: is not a label; {LABEL_FORM}")
        values: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(Profile)}
        locked = replace(LockedProfile(**values), axes={**self.axes, **named})
        update_lock(path, [locked])
        return read_lock(path).partner(locked) or locked

    def __repr__(self) -> str:
        """Return the values to train with."""
        rate = self.learning_rate
        return (
            f"Tuned(batch_size={self.batch_size}, max_batch_size={self.max_batch_size}, "
            f"learning_rate={rate if rate is None else f'{rate:.4g}'}, "
            f"device={self.device.name!r})"
        )

    def __str__(self) -> str:
        """Return the values, the table of what was tried, and the warnings."""
        width = max(len(name) for name, _ in self._values())
        lines = [f"{name:<{width}}  {value}" for name, value in self._values()]
        notes = [f"note: {warning}" for warning in self.warnings]
        return visible("\n".join([*lines, "", self.table, *([""] if notes else []), *notes]))

    def _repr_html_(self) -> str:
        """Return the same for a notebook."""
        values = tabulate(self._values(), tablefmt="html", disable_numparse=True)
        probes = tabulate(
            _rows(self.probes), headers="keys", tablefmt="html", disable_numparse=True
        )
        notes = "".join(f"<p>note: {html.escape(warning)}</p>" for warning in self.warnings)
        return visible(f"{values}\n{probes}\n{notes}")

    def _values(self) -> list[tuple[str, str]]:
        named = {
            "batch size": str(self.batch_size) + words.step(self),
            "largest batch": f"{self.max_batch_size}, bounded by {self.bounded_by}",
            "buckets": words.buckets(self),
            "validation batch": self.validation_batch_size,
            "loader workers": self.num_workers,
            "learning rate": self._rate(),
            "peak memory": words.peak_of_limit(self.measurement),
            "samples/s": self.samples_per_second and words.speed(self.samples_per_second),
            "device": words.place(self.device, self.made_with),
        }
        return [(name, str(value)) for name, value in named.items() if value is not None]

    def _rate(self) -> str:
        if self.learning_rate is None:
            return f"none: {why_no_rate(self)}"
        good = words.learning_rate_range(self)
        return f"{self.learning_rate:.3g}" + ("" if good is None else f", as good from {good}")


def probe_table(probes: Sequence[Probe]) -> str:
    """Return probes as a table, a line for each, by size."""
    return tabulate(_rows(probes), headers="keys", disable_numparse=True, colalign=_ALIGNED)


def _rows(probes: Sequence[Probe]) -> list[dict[str, str]]:
    """Return the rows of a table of probes, by batch size."""
    return [
        {
            "batch size": str(probe.batch_size),
            "outcome": _outcome(probe),
            "peak": _peak(probe),
            "seconds": f"{probe.seconds:.1f}",
        }
        for probe in sorted(probes, key=lambda probe: (probe.kind, probe.batch_size))
    ]


def _peak(probe: Probe) -> str:
    fits = probe.outcome == "fits" and probe.peak_memory_bytes is not None
    return format_bytes(probe.peak_memory_bytes or 0) if fits else ""


def _outcome(probe: Probe) -> str:
    """Return the outcome without the batch size, which stands beside it."""
    text = describe_outcome(probe)
    if probe.kind == "validation":
        return text.replace(f"validation batch {probe.batch_size}", "validation", 1)
    return text.removeprefix(f"batch {probe.batch_size} ")
