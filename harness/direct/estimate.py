"""`harness.estimate`: predicts the largest batch of a training on a GPU that need not be here."""

from __future__ import annotations

import html
import logging
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from harness.batch_search.training import train
from harness.direct.arguments import direct_case
from harness.direct.gpu_argument import asked_gpu, facts_of
from harness.direct.live_lines import live_lines
from harness.direct.measuring import results_folder, surroundings_of, with_traceback
from harness.direct.objects import Objects
from harness.errors import HarnessError, WorkloadError
from harness.predict.prediction import predict
from harness.predict.simulation import Simulation
from harness.probes.outcomes import describe_outcome, describe_probe
from harness.units import format_bytes
from harness.visible import visible

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from harness.direct.gpu_argument import GpuArgument
    from harness.matrix.case import Case
    from harness.measurement import BoundedBy, Probe
    from harness.predict.gpus import GpuFacts
    from harness.predict.holders import Holder
    from harness.predict.prediction import Prediction
    from harness.predict.simulation import SimulatedCase

_log = logging.getLogger("harness")

_SHOWN_HOLDERS = 8


@dataclass(frozen=True, repr=False)
class Estimate:
    """The predicted largest batch of one training on one GPU; nothing ran on a GPU.

    Its text is a table, and a notebook shows it as one.
    """

    prediction: Prediction
    """All that was found."""
    _asked: _Asked
    _tried: dict[int, Probe] = field(default_factory=dict)
    """What is known of single batch sizes."""

    @property
    def gpu(self) -> str:
        """The GPU's product name."""
        return self.prediction.gpu.name

    @property
    def max_batch_size(self) -> int:
        """The largest batch that fits; 0 where none does."""
        return self.prediction.max_batch_size

    @property
    def safe_batch_size(self) -> int:
        """A batch size to train with before any measurement."""
        return self.prediction.safe_batch_size

    @property
    def bounded_by(self) -> BoundedBy:
        """What kept the largest batch from being larger."""
        return self.prediction.bounded_by

    @property
    def peak_memory_bytes(self) -> int:
        """The peak of reserved memory at the largest batch, or at the smallest if none fits."""
        return self.prediction.peak_memory_bytes

    @property
    def memory_limit_bytes(self) -> int:
        """The memory that training may reserve: `search.target_memory_fraction` of the GPU's."""
        return self.prediction.memory_limit_bytes

    @property
    def holders(self) -> tuple[Holder, ...]:
        """What holds the memory at the peak, the largest first; empty where nothing can tell."""
        return () if self.prediction.holders is None else self.prediction.holders.holders

    @property
    def probes(self) -> tuple[Probe, ...]:
        """The batch sizes that the search has tried."""
        return self.prediction.probes

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know before the values are used."""
        return self.prediction.notes

    def fits(self, batch_size: int) -> bool:
        """Return whether a batch size fits; one that was not tried yet is predicted now.

        Raises HarnessError when the data hold fewer samples, WorkloadError when the batch fails for
        another reason than memory.
        """
        return self._probe(batch_size).outcome == "fits"

    def peak(self, batch_size: int) -> int:
        """Return the peak of memory at a batch size in bytes, also of one that does not fit.

        Raises as `fits`.
        """
        probe = self._probe(batch_size)
        if probe.outcome == "fits" and probe.peak_memory_bytes is not None:
            return probe.peak_memory_bytes
        with self._asked.opened() as case, case.device.boundless():
            peak = train(case.opened, batch_size).peak_memory_bytes
        if peak is None:
            raise WorkloadError(f"batch {batch_size} ended before its memory was seen")
        return peak

    def _probe(self, batch_size: int) -> Probe:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise HarnessError(f"batch_size={batch_size!r:.40}: a whole number from 1 is needed")
        if batch_size not in self._tried:
            with self._asked.opened() as case:
                tried = train(case.opened, batch_size)
                shown = describe_probe(tried, self.memory_limit_bytes)
                _log.info("%s: %s", self._asked.case.id, shown)
            self._tried[batch_size] = tried
        probe = self._tried[batch_size]
        if probe.outcome == "dataset":
            raise HarnessError(f"{describe_outcome(probe)}: nothing is known of its memory")
        if probe.outcome == "error":
            raise WorkloadError(describe_outcome(probe), probe.traceback or "")
        return probe

    def __repr__(self) -> str:
        """Return the largest batch, and where."""
        return f"Estimate(max_batch_size={self.max_batch_size}, gpu={self.gpu!r})"

    def __str__(self) -> str:
        """Return the values, what holds the memory, and the notes."""
        width = max(len(name) for name, _ in self._values())
        lines = [f"{name:<{width}}  {value}" for name, value in self._values()]
        if held := self._held():
            lines += ["", f"the peak of batch {self.prediction.shown_batch_size} is held by"]
            lines += [f"  {size:>10}  {what}" for size, what in held]
        return visible("\n".join([*lines, *(f"note: {note}" for note in self.notes)]))

    def _repr_html_(self) -> str:
        """Return the same for a notebook."""
        tables = (
            tabulate(one, tablefmt="html", disable_numparse=True)
            for one in (self._values(), self._held())
            if one
        )
        notes = "".join(f"<p>note: {html.escape(note)}</p>" for note in self.notes)
        return visible("\n".join([*tables, notes]))

    def _values(self) -> list[tuple[str, str]]:
        prediction = self.prediction
        peak = format_bytes(self.peak_memory_bytes)
        return [
            ("largest batch", f"{self.max_batch_size}, bounded by {self.bounded_by}"),
            ("safe batch", str(self.safe_batch_size)),
            ("peak memory", f"{peak} of {format_bytes(self.memory_limit_bytes)}"),
            ("GPU", f"{self.gpu}, simulated with torch {prediction.made_with['torch']}"),
        ]

    def _held(self) -> list[tuple[str, str]]:
        return [
            (format_bytes(one.num_bytes), f"{one}  {one.line}".rstrip())
            for one in self.holders[:_SHOWN_HOLDERS]
        ]


@dataclass(frozen=True)
class _Asked:
    """What an estimate was asked for, so that it may try further sizes."""

    case: Case
    gpu: GpuFacts
    objects: tempfile.TemporaryDirectory[str]
    """The caller's objects, as they were; they go with the estimate."""
    logs: str | os.PathLike[str] | None
    progress: bool

    @contextmanager
    def opened(self) -> Iterator[SimulatedCase]:
        """Open the case on its simulated GPU; no process survives the block."""
        with (
            with_traceback(),
            live_lines(f"{self.case.id}: ", shown=self.progress),
            results_folder(self.logs) as results,
            Simulation() as simulation,
        ):
            around = surroundings_of(results, Path(self.objects.name))
            yield simulation.open(self.case, self.gpu, None, around)


def estimate(
    module: Any = None,
    data: Any = None,
    *,
    training: Any = None,
    gpu: GpuArgument = None,
    logs: str | os.PathLike[str] | None = None,
    progress: bool = True,
    **settings: Any,
) -> Estimate:
    """Predict the largest batch of a training on a GPU that need not be here.

    The search of `harness.tune` runs on a simulated GPU of that kind: torch's CUDA build counts the
    memory, and nothing is computed. The arguments are those of `harness.tune`; `gpu` may be any GPU
    of `gpu-profile predict`, or a mapping of `name` and `memory` for another one.

    Raises HarnessError for arguments that are not allowed, and where torch is no CUDA build;
    UnpredictableError when the training depends on values; WorkloadError when it trains at no batch
    size for another reason than memory.
    """
    asked = asked_gpu(gpu)
    facts = facts_of(asked)
    kept = tempfile.TemporaryDirectory(prefix="gpu-profile-")
    try:
        arguments = {"module": module, "data": data, "training": training, **settings}
        case = direct_case(arguments, asked, Objects(Path(kept.name)))
        _refuse_buckets(case)
        wanted = _Asked(case, facts, kept, logs, progress)
        with wanted.opened() as opened:
            prediction = predict(opened, facts)
    except BaseException:
        kept.cleanup()
        raise
    tried = {
        probe.batch_size: probe for probe in prediction.probes if probe.outcome in ("fits", "oom")
    }
    return Estimate(prediction, wanted, tried)


def _refuse_buckets(case: Case) -> None:
    if case.buckets:
        raise HarnessError(
            "harness.estimate predicts one batch size, and each of `buckets` has its own: leave "
            "them out, and estimate each length by the argument of data"
        )
